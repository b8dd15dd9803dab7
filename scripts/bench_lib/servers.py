"""The servers of the other ways, each on a free port of the loopback interface, each with nothing on disk."""

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench_lib import processes
from bench_lib.processes import BenchError

_START: Final = 10.0
#: What the broker has under way to a subscriber who does not acknowledge; beyond, it says no more. So a run of many
#: times as many messages shows that they are acknowledged. Without `set_tcp_nodelay` its acknowledgements
#: to the load come up to 40 ms late (Nagle), and the load would be what is measured.
_MOSQUITTO: Final = """
listener {port} 127.0.0.1
allow_anonymous true
log_dest none
max_inflight_messages 1000
max_queued_messages 0
set_tcp_nodelay true
"""

PROGRAMS: Final = {"nats": "nats-server", "redis": "redis-server", "mqtt": "mosquitto"}


def program(protocol: str) -> str | None:
    """The server's program, None where there is none. Debian puts two of them where only root looks."""
    return shutil.which(PROGRAMS[protocol], path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


def missing(*protocols: str) -> str | None:
    """What is missing, in words for a person; None where all servers are there."""
    return next((f"{PROGRAMS[one]} is not installed" for one in protocols if program(one) is None), None)


@contextlib.contextmanager
def server(protocol: str, directory: Path, *, jetstream: bool = False) -> Iterator[int]:
    """Run a server; gives its port once it takes connections. Of NATS, `jetstream` turns on what stores.

    Raises:
        BenchError: It is not installed, or does not start.
    """
    path, port = program(protocol), processes.free_port()
    if path is None:
        raise BenchError(f"{PROGRAMS[protocol]} is not installed")
    if protocol == "nats":
        arguments = ["-a", "127.0.0.1", "-p", str(port)]
        arguments += ["--jetstream", "--store_dir", str(directory)] if jetstream else []
    elif protocol == "redis":
        arguments = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
        arguments += ["--loglevel", "warning", "--dir", str(directory)]
    else:
        file = directory / "mosquitto.conf"
        file.write_text(_MOSQUITTO.format(port=port))
        arguments = ["-c", str(file)]
    with processes.process(*arguments, name=PROGRAMS[protocol], program=path):
        _await(port, PROGRAMS[protocol])
        yield port


def _await(port: int, name: str) -> None:
    until = time.monotonic() + _START
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise BenchError(f"{name} did not start")
