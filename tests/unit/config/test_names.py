"""Show that topics, queues and methods that no remote can accept are diagnostics of the configuration."""

from pathlib import Path

import pytest

from bridge.config import load
from bridge.core.errors import ConfigError
from bridge.registry import AdapterRegistry

INTEGRATIONS = """
integration "mqtt" {
  type = "mqtt"
  endpoint {
    url = "mqtt://localhost"
  }
}
integration "mqtt3" {
  type = "mqtt"
  endpoint {
    url = "mqtt://localhost"
  }
  config {
    version = "3.1.1"
  }
}
integration "nats" {
  type = "nats"
  endpoint {
    url = "nats://localhost"
  }
}
integration "redis" {
  type = "redis"
  endpoint {
    url = "redis://localhost"
  }
}
integration "http" {
  type = "http"
  endpoint {
    url = "http://localhost"
  }
}
integration "websocket" {
  type = "websocket"
  endpoint {
    url = "ws://localhost"
  }
}
integration "rpc" {
  type = "json-rpc"
  endpoint {
    url = "ws://localhost"
  }
}
integration "file" {
  type = "file"
  config {
    root = "."
  }
}
integration "timer" {
  type = "timer"
  config {
    schedule "night" {
      cron = "0 3 * * *"
    }
  }
}
integration "static" {
  type = "static"
  config {
    values = { a = 1 }
  }
}
"""


def faults(folder: Path, text: str, **environ: str) -> list[str]:
    """Load a text after all integrations; return its diagnostics without the file."""
    file = folder / "bridge.hcl"
    file.write_text(INTEGRATIONS + text)
    try:
        load([file], adapters=AdapterRegistry(), environ=environ)
    except ConfigError as error:
        return [str(line).partition(": ")[2] for line in error.diagnostics]
    return []


def subscription(integration: str, key: str, value: str, group: str | None) -> str:
    """Write a subscription block."""
    shared = "" if group is None else f'  group = "{group}"\n'
    return f'subscription "s" {{\n  integration = "{integration}"\n  {key} = "{value}"\n{shared}}}\n'


@pytest.mark.parametrize(
    ("integration", "key", "value", "group", "fault"),
    [
        ("mqtt", "topic", "a/#/b", None, "topic: # stands alone at the end, as in a/#"),
        ("mqtt", "topic", "a+/b", None, "topic: + stands for a whole level, as in a/+/c"),
        ("mqtt", "topic", "a", "x/y", "group: the name of a group is never empty and has no /, + or #"),
        ("mqtt3", "topic", "a", "x", "group: MQTT 3.1.1 has no shared subscriptions"),
        ("nats", "topic", "a..b", None, 'topic: "a..b" is no subject'),
        ("nats", "topic", "a.>.b", None, "topic: "),
        ("nats", "topic", "a b", None, "topic: "),
        ("nats", "topic", "a", "b c", "group: "),
        ("nats", "queue", "jobs", None, 'queue: "jobs" names no consumer'),
        ("nats", "queue", "a/b/c", None, "queue: "),
        ("nats", "queue", "a*/b", None, "queue: "),
        ("redis", "topic", "a\\nb", None, "topic: a name holds no control characters"),
        ("redis", "topic", "a", "g", "group: Redis Pub/Sub has no groups"),
        ("redis", "queue", "a", "g/h", "group: a slash cannot be part of it"),
        ("http", "topic", "poll", None, 'topic: "poll" needs `poll` in the `config` block'),
        ("http", "topic", "news", None, 'topic: there is no \'news\'; there are "poll" and "events"'),
        ("websocket", "topic", "a", None, "topic: there is no 'a'; the only one is \"*\""),
        ("websocket", "topic", "*", "g", "group: `websocket` has no groups"),
        ("rpc", "topic", "a", "g", "group: `json-rpc` has no groups"),
        ("file", "topic", "tail:../*", None, "topic: `..` would leave the root"),
        ("file", "topic", "/var/*.log", None, "topic: must be relative to the root"),
        ("file", "topic", "tail:", None, "topic: must not be empty"),
        ("file", "topic", "*", "g", "group: `file` has no groups"),
        ("timer", "topic", "nights", None, "topic: there is no schedule 'nights'; there are night"),
        ("timer", "topic", "night", "g", "group: `timer` has no groups"),
        ("static", "topic", "b", None, "topic: there is no key 'b'"),
    ],
)
def test_subscriptions(
    tmp_path: Path, integration: str, key: str, value: str, *, group: str | None, fault: str
) -> None:
    """A topic, queue or group that the protocol cannot have is a diagnostic at its line."""
    (found,) = faults(tmp_path, subscription(integration, key, value, group))
    assert found.startswith(f'subscription "s" > {fault}')


@pytest.mark.parametrize(
    ("integration", "key", "value", "group"),
    [
        ("mqtt", "topic", "a/+/b/#", "g"),
        ("mqtt3", "topic", "#", None),
        ("nats", "topic", "a.*.>", "g"),
        ("nats", "queue", "jobs/worker", None),
        ("nats", "queue", "jobs.new", "worker"),
        ("redis", "topic", "a[", None),
        ("redis", "queue", "jobs", "g"),
        ("websocket", "topic", "*", None),
        ("rpc", "topic", "changed", None),
        ("file", "topic", "tail:**/*.log", None),
        ("timer", "topic", "*", None),
        ("static", "topic", "a", None),
    ],
)
def test_subscriptions_that_are_possible(
    tmp_path: Path, integration: str, key: str, value: str, group: str | None
) -> None:
    """What a protocol can have is no diagnostic."""
    assert faults(tmp_path, subscription(integration, key, value, group)) == []


@pytest.mark.parametrize(
    ("integration", "operation", "key", "value", "fault"),
    [
        ("mqtt", "publish", "topic", "a/#", "topic: one publishes to one topic"),
        ("mqtt", "request", "method", "a/+", "method: one publishes to one topic"),
        ("mqtt3", "request", "method", "a", "method: MQTT 3.1.1 has no request/response"),
        ("nats", "publish", "topic", "a.*", "topic: "),
        ("nats", "enqueue", "queue", "a..b", "queue: "),
        ("nats", "request", "method", "a b", "method: "),
        ("redis", "publish", "topic", "a*", "topic: one publishes to one channel"),
        ("redis", "enqueue", "queue", "a\\u0001", "queue: a name holds no control characters"),
        ("http", "request", "method", "items", "method: write an HTTP method and a path"),
        ("websocket", "publish", "topic", "a", "topic: there is no 'a'"),
        ("file", "publish", "topic", "../a", "topic: `..` would leave the root"),
        ("file", "request", "method", "delete", "method: `file` has no 'delete'"),
        ("static", "request", "method", "set", "method: `static` has no 'set'"),
    ],
)
def test_routes(tmp_path: Path, integration: str, operation: str, key: str, *, value: str, fault: str) -> None:
    """A fixed topic, queue or method of a route that the protocol cannot have is a diagnostic at its line."""
    message = "" if operation == "request" else "  message = event.payload\n"
    text = f'route "r" {{\n  on = "a"\n  integration = "{integration}"\n  operation = "{operation}"\n'
    (found,) = faults(tmp_path, f'{text}  {key} = "{value}"\n{message}}}\n')
    assert found.startswith(f'route "r" > {fault}')


@pytest.mark.parametrize(
    ("integration", "topic", "severity", "fault"),
    [
        ("mqtt", "metrics.#", "error", "# stands alone at the end, as in a/#; write `metrics/#`"),
        ("mqtt", "metrics.+.cpu", "error", "+ stands for a whole level, as in a/+/c; write `metrics/+/cpu`"),
        (
            "mqtt",
            "metrics/*",
            "warning",
            "has a wildcard of another protocol, which `mqtt` takes as an ordinary letter",
        ),
        (
            "mqtt",
            "metrics.>",
            "warning",
            "has a wildcard of another protocol, which `mqtt` takes as an ordinary letter",
        ),
        (
            "nats",
            "metrics/#",
            "warning",
            "has a wildcard of another protocol, which `nats` takes as an ordinary letter",
        ),
        ("nats", "a.**", "error", '"a.**": a wildcard is a part of its own, and ">" the last; write `a.>`'),
        (
            "redis",
            "metrics/#",
            "warning",
            "has a wildcard of another protocol, which `redis` takes as an ordinary letter",
        ),
    ],
)
def test_a_topic_of_another_protocol(tmp_path: Path, integration: str, topic: str, severity: str, fault: str) -> None:
    """A wildcard of another protocol is an error, or a warning where its letters are allowed."""
    file = tmp_path / "bridge.hcl"
    file.write_text(INTEGRATIONS + subscription(integration, "topic", topic, None))
    try:
        found = load([file], adapters=AdapterRegistry(), environ={}).warnings
    except ConfigError as error:
        found = tuple(error.diagnostics)
    (one,) = found
    assert (one.severity, one.block) == (severity, 'subscription "s" > topic')
    assert fault in str(one)
    assert one.hint.startswith("write `")


@pytest.mark.parametrize("block", ["subscription", "route"])
def test_a_secret_topic_is_not_shown(tmp_path: Path, block: str) -> None:
    """A topic from the environment is not shown by the diagnostic about it."""
    text = f'{block} "s" {{\n  integration = "nats"\n  topic = env.TOPIC\n'
    if block == "route":
        text += '  on = "a"\n  operation = "publish"\n  message = 1\n'
    (found,) = faults(tmp_path, f"{text}}}\n", TOPIC="hidden..value")
    assert found == f'{block} "s" > topic: its value is not valid (it is not shown, because it is secret)'
