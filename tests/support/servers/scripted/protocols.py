"""Each protocol's table of faults, and how a case of it becomes an integration."""

from dataclasses import dataclass
from typing import Any, Final

from tests.support.servers.scripted import http, mqtt, nats, redis, sse, websocket
from tests.support.servers.scripted.server import Conversation, Fault


@dataclass(frozen=True)
class Protocol:
    """How the cases of a table become integrations.

    Attributes:
        conversation: What the server says.
        faults: The table.
        settings: `type`, `endpoint` and `config` in HCL, with `{port}`.
        commands: Operation and payload of each command that all of them get.
        subscribed: The attributes of a `subscription` block, if any; each good server sends one message to it.
        job: The attributes of a `route` with `at_least_once`.
        calls: Whether each attempt of a command may make a connection of its own.
        most_connections: How many connections one integration may make in 10 s.
    """

    conversation: Conversation
    faults: list[Fault]
    settings: str
    commands: tuple[tuple[str, dict[str, Any]], ...]
    subscribed: tuple[str, ...] = ()
    job: str = ""
    calls: bool = False
    most_connections: int = 12

    def block(self, label: str, port: int, timeout: str = "500ms") -> str:
        """Return the blocks of one case; `timeout` limits an attempt and a check."""
        text = f"""
integration "{label}" {{
  {self.settings.replace("{port}", str(port))}
  health {{
    interval = "1s"
    timeout  = "{timeout}"
  }}
  resilience {{
    timeout = "{timeout}"
    retry {{
      max_attempts  = 2
      initial_delay = "50ms"
      max_delay     = "100ms"
      budget        = 1
    }}
    circuit_breaker {{
      failure_threshold = 1000
    }}
  }}
}}
"""
        for number, attributes in enumerate(self.subscribed):
            text += f"""
subscription "{label}-{number}" {{
  integration = "{label}"
  {attributes}
  emit        = "got.{label}"
}}
"""
        if self.job:
            text += f"""
route "{label}" {{
  on          = "job.{label}"
  integration = "{label}"
  delivery    = "at_least_once"
  {self.job}
}}
"""
        return text


def _at(kind: str, url: str, config: str = "") -> str:
    return f'type = "{kind}"\n  endpoint {{\n    url = "{url}"\n  }}\n  config {{\n    {config}\n  }}'


PROTOCOLS: Final = {
    "mqtt": Protocol(
        mqtt.converse,
        mqtt.FAULTS,
        _at("mqtt", "mqtt://127.0.0.1:{port}"),
        (("publish", {"topic": "out/x", "message": 1, "qos": 1}), ("publish", {"topic": "out/x", "message": 1})),
        ('topic = "in/x"',),
        'operation = "publish"\n  topic = "jobs"\n  message = event.payload\n  qos = 1',
    ),
    "nats": Protocol(
        nats.converse,
        nats.FAULTS,
        _at("nats", "nats://127.0.0.1:{port}"),
        (("publish", {"topic": "out.x", "message": 1}), ("request", {"method": "svc.x", "params": 1})),
        ('topic = "in.*"',),
        'operation = "publish"\n  topic = "jobs"\n  message = event.payload',
    ),
    "redis": Protocol(
        redis.converse,
        redis.FAULTS,
        _at("redis", "redis://127.0.0.1:{port}"),
        (("publish", {"topic": "out", "message": 1}), ("enqueue", {"queue": "out", "message": 1})),
        ('topic = "in"', 'queue = "jobs"'),
        'operation = "enqueue"\n  queue = "jobs"\n  message = event.payload',
        most_connections=24,
    ),
    "json-rpc": Protocol(
        http.converse,
        http.FAULTS,
        _at("json-rpc", "http://127.0.0.1:{port}/rpc"),
        (("request", {"method": "echo", "params": [1]}),),
        job='operation = "request"\n  method = "echo"\n  params = event.payload',
        calls=True,
    ),
    "http": Protocol(
        http.converse,
        http.FAULTS,
        _at("http", "http://127.0.0.1:{port}/", 'max_response = "1MiB"'),
        (("request", {"method": "GET /x"}), ("request", {"method": "POST /x", "params": {"body": {}}})),
        job='operation = "request"\n  method = "PUT /x"\n  params = { body = event.payload }',
        calls=True,
    ),
    "server-sent-events": Protocol(
        sse.converse,
        [fault for fault in sse.FAULTS if fault.label != "first-stall"],  # that is a stream in which nothing happens
        _at("http", "http://127.0.0.1:{port}/", 'events = "/events"\n    max_response = "2MiB"'),
        (("request", {"method": "GET /x"}),),
        ('topic = "events"',),
    ),
    "websocket": Protocol(
        websocket.converse,
        [fault for fault in websocket.FAULTS if fault.at != "answer"],  # a message of this type has no answer
        _at("websocket", "ws://127.0.0.1:{port}/", 'ping = "500ms"'),
        (("publish", {"topic": "*", "message": 1}),),
        ('topic = "*"',),
        'operation = "publish"\n  topic = "*"\n  message = event.payload',
    ),
    "json-rpc-websocket": Protocol(
        websocket.converse,
        websocket.FAULTS,
        _at("json-rpc", "ws://127.0.0.1:{port}/"),
        (("request", {"method": "echo", "params": [1]}),),
        ('topic = "*"',),
        'operation = "request"\n  method = "echo"\n  params = event.payload',
    ),
}
