"""The sidecar as a service manager runs it (sd_notify(3)): what it is told, from the start to the end."""

import socket
from pathlib import Path

from tests.support.sidecar.sidecar import Sidecar, bus_block, short_directory


def test_the_life_of_a_service():
    """Ready once it is up, alive at the interval, reloading with its time and ready again, stopping before the end."""
    with short_directory() as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(directory / "notify"))
        manager.settimeout(15)

        def wait_for(word: str) -> list[str]:
            """What is said up to the first message that begins so."""
            said = [""]
            while not said[-1].startswith(word):
                said.append(manager.recv(4096).decode())
            return said[1:]

        environ = {"NOTIFY_SOCKET": str(directory / "notify"), "WATCHDOG_USEC": "600000"}
        running = Sidecar(directory, f"bridge {{\n status = null\n}}\n{bus_block(directory)}", environ=environ)
        try:
            assert wait_for("READY=1")[0].startswith("STATUS=ready; 0 of 0 integrations connected")
            for _ in range(3):
                wait_for("WATCHDOG=1")
            running.process.send_signal(1)
            assert "MONOTONIC_USEC=" in wait_for("RELOADING=1")[-1]
            assert "STOPPING=1" not in wait_for("READY=1")
            running.term()
            wait_for("STOPPING=1")
            assert running.wait() == 0
        finally:
            running.kill()


def test_who_hangs_is_not_alive():
    """A frozen sidecar says nothing more, so that the service manager's time runs out."""
    with short_directory() as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(directory / "notify"))
        manager.settimeout(15)
        environ = {"NOTIFY_SOCKET": str(directory / "notify"), "WATCHDOG_USEC": "300000"}
        running = Sidecar(directory, f"bridge {{\n status = null\n}}\n{bus_block(directory)}", environ=environ)
        try:
            while manager.recv(4096) != b"WATCHDOG=1":
                pass
            running.process.send_signal(19)
            while _stopped(running) is False:
                pass
            manager.settimeout(0.9)
            said = []
            try:
                while True:
                    said.append(manager.recv(4096))
            except TimeoutError:
                pass
            assert len(said) < 3
        finally:
            running.kill()


def _stopped(running: Sidecar) -> bool:
    return ") T " in Path(f"/proc/{running.process.pid}/stat").read_text()
