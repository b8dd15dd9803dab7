"""Tell the service manager the bridge's state: datagrams to the socket that `NOTIFY_SOCKET` names (sd_notify(3))."""

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from typing import Final

#: Characters of a status line.
_MOST: Final = 300


class ServiceManager:
    """Tell the service manager the bridge's state; without one, do nothing. Never waits, never raises.

    Attributes:
        watchdog: Seconds within which `alive` must be called; None where the service manager does not watch.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        #: A leading `@` stands for the NUL of an abstract socket.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if address.startswith(("/", "@")) and hasattr(socket, "AF_UNIX"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        self.watchdog = _watchdog(environ) if self._socket is not None else None
        self._said = ""

    @property
    def listens(self) -> bool:
        """Return whether there is a service manager that is told anything."""
        return self._socket is not None

    def ready(self) -> None:
        """Tell that the start, or a reload, is done."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Tell that a reload begins; `ready` must follow. systemd needs the time of it, on its own clock."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Tell that the end has begun."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Tell that the process does not hang."""
        self._send("WATCHDOG=1")

    def status(self, line: str) -> None:
        """Tell one line for `systemctl status`, if it has changed."""
        line = " ".join(line.split())[:_MOST]
        if line != self._said:
            self._said = line
            self._send(f"STATUS={line}")

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the socket is gone or full, which must not disturb the bridge
                self._socket.sendto(message.encode(), self._address)


def _watchdog(environ: Mapping[str, str]) -> float | None:
    microseconds, process = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or (process and process != str(os.getpid())):
        return None
    return int(microseconds) / 1_000_000 or None
