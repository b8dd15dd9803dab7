"""Show how the configuration is shown to a person, and what its schema accepts."""

import json

import jsonschema
import pytest

from bridge.config import masked, show
from bridge.config.schema import schema

TEXT = """
bridge { name = env.NAME }
variable "url" { env = "URL" }
variable "pin" {
  default   = "pin-1234"
  sensitive = true
}
variable "greeting" { default = "hello ${var.name}" }
variable "name" { default = upper(env.NAME) }
integration "a" {
  type = "mqtt"
  endpoint {
    address = var.url
    port    = 8883
  }
  auth {
    type     = "basic"
    username = "literal-user"
    password = "literal-pass"
  }
  config {
    client_id  = "nemo-${var.pin}"
    keep_alive = "5s"
    will {
      topic   = "t"
      message = env.NAME
    }
    several { topic = "plain" }
    several { topic = env.NAME }
  }
}
route "r" {
  on          = ["a.*"]
  where       = event.payload.n > 1
  integration = "a"
  operation   = "publish"
  topic       = "t/${env.NAME}/${event.id}"
  message     = env.NAME
  qos         = 1
}
route "greet" {
  on          = ["b.*"]
  integration = "a"
  operation   = "publish"
  topic       = var.greeting
  message     = "x"
}
subscription "s" {
  integration = "a"
  topic       = "${env.NAME}/#"
  group       = env.NAME
}
"""
ENVIRON = {"NAME": "hunter2", "URL": "secret-host"}
SECRETS = ("hunter2", "HUNTER2", "secret-host", "pin-1234", "literal-user", "literal-pass")


def test_secrets_are_masked(load_text):
    """Values from the environment, sensitive variables and all of `auth` are masked; everything else is shown."""
    found = masked(load_text(TEXT, ENVIRON))
    integration = found["integration"]["a"]
    assert found["bridge"]["name"] == "***"
    assert integration["endpoint"] == {"address": "***", "port": 8883}
    assert integration["auth"] == {"type": "basic", "username": "***", "password": "***"}
    assert integration["config"]["client_id"] == "***"
    assert integration["config"]["keep_alive"] == "5s"
    assert integration["config"]["will"] == {"topic": "t", "message": "***"}
    assert [entry["topic"] for entry in integration["config"]["several"]] == ["plain", "***"]
    assert found["route"]["r"]["message"] == "env.NAME"
    assert found["route"]["greet"]["topic"] == "var.greeting"
    assert found["subscription"]["s"] == {
        "integration": "a",
        "topic": "***",
        "ack": "bus",
        "prefetch": 100,
        "group": "***",
        "listener": "required",
    }


@pytest.mark.parametrize("secret", SECRETS)
def test_nothing_secret_is_in_the_text(load_text, secret):
    """Neither text nor data nor repr holds a secret."""
    configuration = load_text(TEXT, ENVIRON)
    assert secret not in show(configuration)
    assert secret not in json.dumps(masked(configuration))
    assert secret not in repr(configuration.routes)


def test_expressions_are_shown_as_written(load_text):
    """An expression is shown without quotes, as the file has it."""
    lines = [line.strip() for line in show(load_text(TEXT, ENVIRON)).splitlines()]
    assert "where = event.payload.n > 1" in lines
    assert 'topic = "t/${env.NAME}/${event.id}"' in lines
    assert 'integration "a" {' in lines
    assert 'stop_with = "system.shutdown"' in lines


def test_the_schema_is_valid_and_so_is_its_example(adapters):
    """The schema is valid draft 2020-12, and its own example is valid by it."""
    found = schema(adapters)
    jsonschema.Draft202012Validator.check_schema(found)
    for example in found["examples"]:
        jsonschema.validate(example, found)


@pytest.mark.parametrize(
    "data",
    [
        {"bridge": {"nme": 1}},
        {"bus": {"mode": "hst"}},
        {"integration": {"a": {"type": "nope"}}},
        {"integration": {"a": {"type": "mqtt"}}},
        {"integration": {"bus": {"type": "timer", "config": {"every": 1}}}},
        {"integration": {"a": {"type": "timer"}}},
        {
            "integration": {
                "a": {"type": "mqtt", "endpoint": {"url": "mqtt://h"}, "auth": {"type": "bearer", "token": ""}}
            }
        },
        {"route": {"r": {"on": [], "integration": "a", "operation": "request"}}},
    ],
)
def test_the_schema_refuses(adapters, data):
    """The schema refuses what a file may not contain."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, schema(adapters))


def test_the_schema_takes_each_adapter(adapters):
    """The schema has each type's own keys."""
    data = {
        "integration": {
            "a": {"type": "timer", "config": {"every": "1s"}},
            "b": {"type": "mqtt", "endpoint": {"address": "h"}, "config": {"keep_alive": "60s"}},
        }
    }
    jsonschema.validate(data, schema(adapters))
