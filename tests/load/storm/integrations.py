"""The nine integrations of the storm: their configuration, their commands, and the remotes that can be killed."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.servers.demo import DemoProcess
from tests.support.servers.http_service import http_service
from tests.support.servers.remotes import KINDS, Stand, stand
from tests.support.servers.websocket_service import websocket_service

_BRIEF: Final = """
  health {
    interval = "1s"
    timeout  = "4s"
  }
  resilience {
    timeout = "4s"
    circuit_breaker {
      failure_threshold = 1000000
      timeout           = "300ms"
    }
  }
"""
_LOCAL: Final = """
integration "file" {{
  type = "file"
  config {{
    root = "{root}"
  }}
}}
integration "static" {{
  type = "static"
  config {{
    values = {{
      key = 7
    }}
  }}
}}
integration "timer" {{
  type = "timer"
  config {{
    every = "100ms"
  }}
}}
"""
_INBOUND: Final = """
subscription "from_redis" {
  integration = "redis"
  queue       = "numbers"
  emit        = "seen.redis"
}
subscription "from_nats" {
  integration = "nats"
  queue       = "NUMBERS/bridge"
  emit        = "seen.nats"
}
subscription "from_mqtt" {
  integration = "mqtt"
  topic       = "numbers"
  emit        = "seen.mqtt"
}
subscription "from_websocket" {
  integration = "websocket"
  topic       = "*"
  emit        = "seen.websocket"
}
subscription "from_file" {
  integration = "file"
  topic       = "tail:numbers.txt"
  emit        = "seen.file"
}
subscription "from_timer" {
  integration = "timer"
  topic       = "default"
  emit        = "seen.timer"
}
"""


@dataclass(frozen=True, slots=True)
class LoadedIntegration:
    """One integration under load.

    Attributes:
        name: Its label.
        operation: The operation of its commands; None where it only emits events.
        command: The payload that carries a number.
        kill: Kill -9 of its remote; None where it has none.
        start: The remote again, where it was, with what it had stored.
        ledger: The numbers that have reached a remote that keeps what it acknowledges; None for the others.
        keyed: Whether its commands carry an idempotency key, and so may be repeated.
    """

    name: str
    operation: str | None
    command: Callable[[int], dict[str, Any]] = lambda _: {}
    kill: Callable[[], None] | None = None
    start: Callable[[], None] = lambda: None
    ledger: Callable[[], set[int]] | None = None
    keyed: bool = False


#: Those whose stored messages must all become events.
READ: Final = ("redis", "nats", "mqtt", "file")


class _Restarted:
    """A service that is started again on the same port."""

    def __init__(self, stack: ExitStack, make: Callable[..., Any]) -> None:
        self._stack, self._make = stack, make
        self.process: DemoProcess = stack.enter_context(make())

    def kill(self) -> None:
        self.process.kill()

    def start(self) -> None:
        self.process = self._stack.enter_context(self._make(self.process.port))


def _acknowledging(one: Stand) -> LoadedIntegration:
    return LoadedIntegration(
        one.kind,
        one.operation,
        one.command,
        one.kill,
        one.start,
        lambda: {number for _, number in one.ledger()},
        keyed=True,
    )


def _stand_text(one: Stand) -> str:
    settings = one.settings(one.port)
    if one.kind == "mqtt":  # what was published while the sidecar was away must arrive, too
        settings += '\nconfig {\n client_id = "storm"\n clean_start = false\n session_expiry = "1h"\n}'
    return f'\nintegration "{one.kind}" {{\n{settings}\n{_BRIEF}\n}}\n'


def _reached(name: str, url: str) -> str:
    return f'\nintegration "{name}" {{\n type = "{name}"\n endpoint {{\n  url = "{url}"\n }}\n{_BRIEF}\n}}\n'


@contextmanager
def running_integrations(folder: Path) -> Iterator[tuple[list[LoadedIntegration], str]]:
    """Start the remotes of all nine, and yield the integrations and their configuration; files are in `folder`."""
    root = folder / "files"
    root.mkdir()
    (root / "numbers.txt").touch()
    with ExitStack() as stack:
        stands = [stack.enter_context(stand(kind)) for kind in KINDS]
        web, socket = _Restarted(stack, http_service), _Restarted(stack, websocket_service)
        integrations = [_acknowledging(one) for one in stands]
        integrations += [
            LoadedIntegration(
                "http",
                "request",
                lambda number: {"method": "POST /echo", "params": {"body": {"number": number}}},
                web.kill,
                web.start,
            ),
            LoadedIntegration(
                "websocket",
                "publish",
                lambda number: {"topic": "*", "message": {"number": number}},
                socket.kill,
                socket.start,
            ),
            LoadedIntegration(
                "file",
                "publish",
                lambda number: {"topic": "numbers.txt", "message": str(number), "headers": {"append": "true"}},
                ledger=lambda: {int(line) for line in (root / "numbers.txt").read_text().split()},
            ),
            LoadedIntegration("static", "request", lambda _: {"method": "get", "params": {"key": "key"}}),
            LoadedIntegration("timer", None),
        ]
        text = "".join(map(_stand_text, stands)) + _reached("http", web.process.url)
        text += _reached("websocket", socket.process.url) + _LOCAL.format(root=root) + _INBOUND
        yield integrations, text
