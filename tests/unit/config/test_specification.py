"""Show that the specification's own example loads."""

import pytest

EXAMPLE = """\
integration "backend_api" {
  type = "json-rpc"

  endpoint {
    address = "https://api.example.com"
    path    = "/rpc"
  }

  auth {
    type  = "bearer"
    token = "${env.API_TOKEN}"
  }

  resilience {
    retry {
      max_attempts = 3
      backoff      = "exponential"
    }

    circuit_breaker {
      failure_threshold = 5
      success_threshold = 2
      timeout           = "30s"
    }
  }
}

integration "events" {
  type = "mqtt"

  endpoint {
    address = "mqtt.example.com"
    port    = 8883
    tls     = true
  }

  auth {
    type     = "basic"
    username = "${env.MQTT_USER}"
    password = "${env.MQTT_PASS}"
  }

  config {
    client_id  = "nemo-${env.INSTANCE}"
    keep_alive = "60s"
  }
}
"""
ENVIRON = {"API_TOKEN": "t0ken", "MQTT_USER": "us3r", "MQTT_PASS": "passw0rd", "INSTANCE": "i-17"}


def test_loads_unchanged(load_text):
    """The two integrations of the example are read, with defaults filled in."""
    found = load_text(EXAMPLE, ENVIRON).integrations
    api, events = found["backend_api"], found["events"]
    assert (api.type, api.endpoint.address, api.endpoint.path) == ("json-rpc", "https://api.example.com", "/rpc")
    assert api.auth.token.get_secret_value() == "t0ken"
    assert api.resilience.retry.max_attempts == 3
    assert api.resilience.circuit_breaker.timeout == 30.0
    assert api.resilience.timeout == 10.0
    assert (events.endpoint.port, events.endpoint.tls) == (8883, True)
    assert (events.auth.username, events.auth.password.get_secret_value()) == ("us3r", "passw0rd")
    assert (events.config.client_id, events.config.keep_alive) == ("nemo-i-17", 60.0)
    assert (events.location.line, events.spec.protocol) == (28, "mqtt")


@pytest.mark.parametrize(
    ("name", "line", "key"),
    [
        ("API_TOKEN", 11, 'integration "backend_api" > auth > token'),
        ("MQTT_USER", 39, 'integration "events" > auth > username'),
        ("MQTT_PASS", 40, 'integration "events" > auth > password'),
        ("INSTANCE", 44, 'integration "events" > config > client_id'),
    ],
)
def test_names_a_missing_variable(diagnostics, name, line, key):
    """An environment variable that is not set is the only diagnostic, with line, block and key."""
    environ = {other: value for other, value in ENVIRON.items() if other != name}
    wanted = f"bridge.hcl:{line}: {key}: the environment variable `{name}` is not set"
    assert diagnostics(EXAMPLE, environ) == [wanted]


def test_names_all_missing_variables_at_once(diagnostics):
    """Four missing environment variables are four diagnostics."""
    assert len(diagnostics(EXAMPLE)) == 4
