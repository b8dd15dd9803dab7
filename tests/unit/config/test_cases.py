"""Show how `test` blocks are read and checked, and what takes the place of an environment that is not there."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from bridge.config import Configuration, load
from bridge.config.case_models import (
    Answer,
    Case,
    EmitStep,
    ExpectedCall,
    ExpectedEvent,
    MessageStep,
    RemoteStep,
)
from bridge.core.diagnostic import Code
from bridge.core.errors import ConfigError, ErrorKind
from bridge.registry import AdapterRegistry

GROUND = """
integration "shop" {
  type = "json-rpc"
  endpoint {
    url = "https://shop.example/rpc"
  }
}
integration "events" {
  type = "mqtt"
  endpoint {
    address = "broker.example"
  }
}
integration "ticks" {
  type = "timer"
  config {
    every = "1m"
  }
}
subscription "metrics" {
  integration = "events"
  topic       = "metrics/#"
}
subscription "load" {
  integration = "events"
  topic       = "load"
}
subscription "minutes" {
  integration = "ticks"
  topic       = "default"
}
"""
LINES = GROUND.count("\n")

Load = Callable[..., Configuration]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """A function that loads a string after `GROUND`, with the adapters as they are installed."""

    def from_text(text: str, ground: str = GROUND, faults: Path | None = None, **environ: str) -> Configuration:
        file = tmp_path / "bridge.hcl"
        file.write_text(ground + text, "utf-8")
        return load([file], adapters=AdapterRegistry(), environ=environ, with_placeholders=True, faults=faults)

    return from_text


@pytest.fixture
def case(loaded: Load) -> Callable[[str], Case]:
    """A function that returns the one test case of a string, in which `test "t" { … }` is left out."""

    def from_text(inside: str) -> Case:
        (found,) = loaded(f'test "t" {{\n{inside}\n}}').cases
        return found

    return from_text


def test_all_that_a_test_can_have(case):
    """Stand-ins with their answers, steps in order of time, and expectations in the order of the file."""
    found = case(
        """
  lasts = "10m"
  remote "shop" {
    answers = [
      { error = "rejected", code = -32000, message = "sold out", data = { left = 0 } },
      { error = "timeout" },
      { result = [1, { "$bytes" = "AAE=" }], after = "300ms" },
      { result = null },
    ]
  }
  step {
    at      = "5s"
    message = "metrics"
    topic   = "metrics/cpu"
    payload = { v = 1 }
    headers = { unit = "percent" }
  }
  step {
    at     = "1m"
    remote = "shop"
    down   = true
  }
  step {
    emit           = "order.created"
    payload        = { id = 1 }
    source         = "till"
    correlation_id = "c-1"
    headers        = { idempotency_key = "k" }
  }
  expect {
    event          = "response.order.created"
    by             = "2s"
    times          = 1
    payload        = { ok = true }
    correlation_id = "c-1"
  }
  expect {
    call   = "shop"
    method = "orders.create"
    params = { id = 1 }
    times  = 3
  }
  expect {
    call    = "events"
    topic   = "out"
    message = "x"
  }
"""
    )
    assert found.lasts == 600
    assert found.answers == {
        "shop": (
            Answer(error="rejected", code=-32000, message="sold out", data={"left": 0}),
            Answer(error="timeout"),
            Answer(result=[1, b"\x00\x01"], after=0.3),
            Answer(),
        )
    }
    assert found.steps == (
        EmitStep(0.0, "order.created", {"id": 1}, "till", "c-1", {"idempotency_key": "k"}),
        MessageStep(5.0, "metrics", "metrics/cpu", {"v": 1}, {"unit": "percent"}),
        RemoteStep(60.0, "shop", down=True),
    )
    response, request, publish = found.expectations
    assert response == ExpectedEvent("response.order.created", 2.0, 1, {"ok": True}, "c-1", response.location)
    assert request == ExpectedCall(
        "shop", "request", "orders.create", times=3, content={"id": 1}, location=request.location
    )
    assert publish == ExpectedCall("events", "publish", "out", content="x", location=publish.location)


def test_what_may_be_left_out(case):
    """A test lasts an hour, steps happen at its start; what an expectation leaves out may be anything."""
    found = case('step {\nmessage = "load"\n}\nexpect {\nevent = "a.*"\n}\nexpect {\ncall = "shop"\n}')
    event, call = found.expectations
    assert found.lasts == 3600
    assert found.steps == (MessageStep(0.0, "load", "load"),)
    assert (event.by, event.times, event.payload, event.correlation_id) == (None, None, msgspec.UNSET, msgspec.UNSET)
    assert (call.operation, call.name, call.content) == (None, None, msgspec.UNSET)


EXPECT = 'expect {\nevent = "a"\n}'

#: The inside of a test; and of each diagnostic its line, counted from that of `test`, its key, message and hint.
FAULTS = [
    (
        'remote "shp" {\nanswers = [{ result = 1 }]\n}',
        ("2 remote > shp", "there is no integration `shp`", "did you mean `shop`?"),
    ),
    (
        "remote {\nanswers = []\n}",
        ("2 remote", "takes the name of an integration", 'write `remote "name" { … }`'),
    ),
    ('step "one" {\nemit = "a"\n}', ('2 step "one"', "takes no label", "write `step { … }`")),
    ('remote "shop" {\n}', ("2 remote > shop > answers", "is missing", "")),
    ('remote "shop" {\nanswers = []\n}', ("3 remote > shop > answers", "must not be empty", "")),
    (
        'remote "shop" {\nanswers = [\n{ result = 1 },\n{ eror = "timeout" },\n]\n}',
        ("5 remote > shop > answers > 1 > eror", "unknown key", "did you mean `error`?"),
    ),
    (
        'remote "shop" {\nanswers = [\n{ result = 1 },\n{ error = "time_out" },\n]\n}',
        (
            "5 remote > shop > answers > 1 > error",
            "must be " + ", ".join(f"`{kind}`" for kind in get_args(ErrorKind)[:-1]) + " or `stopping`",
            "did you mean `timeout`?",
        ),
    ),
    (
        'remote "shop" {\nanswers = [\n{ after = 1 },\n{ result = 1, error = "auth" },\n{ result = 1, code = 3 }]\n}',
        ("4 remote > shop > answers > 0", 'an answer is `{ result = … }` or `{ error = "<kind>" }`', ""),
        ("5 remote > shop > answers > 1", 'an answer is `{ result = … }` or `{ error = "<kind>" }`', ""),
        ("6 remote > shop > answers > 2 > code", "belongs to `error`", ""),
    ),
    (
        'remote "ticks" {\nanswers = [{ result = 1 }]\n}',
        ("2 remote > ticks", "`ticks` is `timer`, which has no remote; in a test it works as in real life", ""),
    ),
    ("step {\n}", ("2 step > 0", "does nothing", "give it one of `emit`, `message`, `remote`")),
    (
        'step {\nemit = "a"\nmessage = "load"\n}',
        ("4 step > 0 > message", "is a second one beside `emit`", "write another `step` block"),
    ),
    (
        'step {\nemit = "a"\ntopic = "b"\n}',
        (
            "4 step > 0 > topic",
            "does not belong to `emit`, which takes `at`, `correlation_id`, `headers`, `payload`, `source`",
            "",
        ),
    ),
    (
        'step {\nemit = "a b"\n}',
        ("3 step > 0 > emit", "not an event type: 'a b' holds a space or control character", ""),
    ),
    (
        'step {\nemit = "a"\nat = "2h"\n}',
        ("4 step > 0 > at", "the test ends after 1h", "give the test a longer `lasts`"),
    ),
    (
        'step {\nemit = "a"\nat = "soon"\n}',
        (
            "4 step > 0 > at",
            '\'soon\' is not a duration; write "250ms", "30s", "2m", "1h" or a number of seconds',
            "",
        ),
    ),
    (
        'step {\nemit = "a"\npayload = [{ "$bytes" = "A" }]\n}',
        (
            "4 step > 0 > payload",
            'payload[0]: `$bytes` is not valid base64 (RFC 4648, section 4, with padding); right is {"$bytes": "AAE="}',
            "",
        ),
    ),
    (
        'step {\nmessage = "metric"\n}',
        ("3 step > 0 > message", "there is no subscription `metric`", "did you mean `metrics`?"),
    ),
    (
        'step {\nmessage = "metrics"\n}',
        (
            "3 step > 0 > message",
            "subscription `metrics` gets what matches `metrics/#`",
            "give the message's own `topic`",
        ),
    ),
    (
        'step {\nmessage = "metrics"\ntopic = "load/cpu"\n}',
        (
            "4 step > 0 > topic",
            "subscription `metrics` gets what matches `metrics/#`, so it does not get a message of this topic",
            "",
        ),
    ),
    (
        'step {\nmessage = "minutes"\n}',
        ("3 step > 0 > message", "`ticks` is `timer`, which has no remote; in a test it works as in real life", ""),
    ),
    ('step {\nremote = "shop"\n}', ("3 step > 0 > remote", "needs `down`, which is true or false", "")),
    (
        'step {\nremote = "shop"\ndown = "yes"\n}',
        ("4 step > down", "must be true or false, not a string", "write `true`, without quotes"),
    ),
    ("expect {\ntimes = 1\n}", ("2 expect > 0", "expects nothing", "give it one of `call`, `event`")),
    (
        'expect {\nevent = "a"\ntimes = -1\n}',
        ("4 expect > 0 > times", "must be greater than or equal to 0", ""),
    ),
    (
        'expect {\nevent = "a"\nby = "61m"\n}',
        ("4 expect > 0 > by", "the test ends after 1h", "give the test a longer `lasts`"),
    ),
    (
        'expect {\nevent = "a"\nmethod = "b"\n}',
        (
            "4 expect > 0 > method",
            "does not belong to `event`, which takes `by`, `correlation_id`, `payload`, `times`",
            "",
        ),
    ),
    (
        'expect {\nevent = "order/*"\n}',
        (
            "3 expect > 0 > event",
            "'order/*': `*` and `**` stand for whole segments, not for a part as in 'order/*'",
            "",
        ),
    ),
    (
        'expect {\nevent = "resilience.shp.retry"\n}',
        (
            "3 expect > 0 > event",
            "no event is of this type, because there is no integration `shp`",
            "did you mean `shop`?",
        ),
    ),
    (
        'expect {\ncall = "sop"\n}',
        ("3 expect > 0 > call", "there is no integration `sop`", "did you mean `shop`?"),
    ),
    (
        'expect {\ncall = "shop"\nmethod = "a"\ntopic = "b"\n}',
        ("5 expect > 0 > topic", "a call has one of `method`, `queue`, `topic`", ""),
    ),
    (
        'expect {\ncall = "shop"\ntopic = "a"\n}',
        ("4 expect > 0 > topic", "`shop` is `json-rpc`, which has no `publish`", ""),
    ),
    (
        'expect {\ncall = "events"\ntopic = "a"\nparams = 1\n}',
        ("5 expect > 0 > params", "belongs to a request; `publish` has a `message`", ""),
    ),
    (
        'expect {\ncall = "shop"\nmethod = "a"\nmessage = 1\n}',
        ("5 expect > 0 > message", "belongs to a publish or an enqueue; a request has `params`", ""),
    ),
    (
        'expect {\ncall = "shop"\nparams = 1\nmessage = 1\n}',
        ("5 expect > 0 > message", "a call has `params` (a request) or a `message`, not both", ""),
    ),
    ("lasts = 0", ("2 lasts", "must be greater than 0", "")),
    ('lats = "1s"', ("2 lats", "unknown key", "did you mean `lasts`?")),
]


def test_what_is_wrong_with_a_test(loaded):
    """Each fault names its line, its key, and what would be right; all of them come at once."""
    text, starts = "", []
    for number, (inside, *_) in enumerate(FAULTS):
        starts.append(LINES + text.count("\n"))
        text += f'test "{number}" {{\n{inside}\n}}\n'
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    found: dict[int, list[tuple[str, str, str]]] = {number: [] for number in range(len(FAULTS))}
    for one in caught.value.diagnostics:
        if one.severity == "error":
            subject, _, key = one.block.partition(" > ")
            number = int(subject.split('"')[1])
            place = f"{one.location.line - starts[number]} {key}"
            found[number].append((place, one.message, one.hint))
    assert found == {number: expected for number, (_, *expected) in enumerate(FAULTS)}


def test_the_name_of_a_test(loaded):
    """A name is any text that is not empty, and no two tests have the same."""
    assert [one.name for one in loaded('test "ü & co" {\n' + EXPECT + "\n}").cases] == ["ü & co"]
    with pytest.raises(ConfigError) as caught:
        loaded(f'test " " {{\n{EXPECT}\n}}\ntest "a" {{\n{EXPECT}\n}}\ntest "a" {{\n{EXPECT}\n}}')
    unnamed, twice = caught.value.diagnostics
    assert (unnamed.message, unnamed.hint) == ("a test has a name", 'write `test "name" { … }`')
    assert twice.block == 'test "a"'
    assert twice.message.startswith("given twice")


def test_a_test_that_cannot_fail(loaded):
    """A test without `expect` is a warning."""
    (warning,) = loaded('test "t" {\n}').warnings
    assert str(warning).endswith(
        f'bridge.hcl:{LINES + 1}: test "t": expects nothing, so it cannot fail; add an `expect` block'
    )


def test_faulty_blocks_get_no_second_complaint(loaded):
    """What is wrong with an integration or a subscription is told once, not again by the tests that name them."""
    text = 'test "t" {\nexpect {\ncall = "bad"\n}\nstep {\nmessage = "bad"\ntopic = "x"\n}\n}\n'
    text += 'integration "bad" {\n}\nsubscription "bad" {\nintegration = "bad"\n}\n'
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    assert not [one for one in caught.value.diagnostics if one.block.startswith("test")]


def test_a_file_of_faults(loaded, tmp_path):
    """A file of `step` and `remote` blocks is read as a test without end; other blocks do not belong there."""
    faults = tmp_path / "faults.hcl"
    faults.write_text('step {\nat = "30h"\nremote = "shop"\ndown = true\n}\n', "utf-8")
    configuration = loaded("", faults=faults)
    assert configuration.faults.steps == (RemoteStep(30 * 3600.0, "shop", down=True),)
    assert not configuration.warnings
    faults.write_text('step {\nremote = "shp"\n}\nexpect {\n}\n', "utf-8")
    with pytest.raises(ConfigError) as caught:
        loaded("", faults=faults)
    assert {(Path(one.location.file).name, one.block, one.code) for one in caught.value.diagnostics} == {
        ("faults.hcl", "expect", Code.UNKNOWN_BLOCK),
        ("faults.hcl", "faults > step > 0 > remote", Code.UNKNOWN_INTEGRATION),
        ("faults.hcl", "faults > step > 0 > remote", Code.MISSING_KEY),
    }


def test_variables_and_secrets(loaded):
    """Values may use variables; what came from the environment is secret."""
    text = """
variable "total" {
  default = 3
}
test "t" {
  step {
    emit    = "order.created"
    payload = { total = var.total, token = env.TOKEN }
  }
  expect {
    event = "x"
  }
}
"""
    configuration = loaded(text, TOKEN="hunter22")
    assert configuration.cases[0].steps == (EmitStep(0.0, "order.created", {"total": 3, "token": "hunter22"}),)
    assert "hunter22" in configuration.secrets


ENVIRONMENT = """
variable "limit" {
  type = "int"
  env  = "LIMIT"
}
variable "debug" {
  type    = "bool"
  default = env.DEBUG
}
integration "shop" {
  type = "json-rpc"
  endpoint {
    url = "${env.API_URL}/rpc"
  }
  auth {
    type  = "bearer"
    token = "${env.API_TOKEN}"
  }
  config {
    batch = var.debug
  }
  resilience {
    timeout = env.TIMEOUT
    limit {
      max_in_flight = var.limit
    }
  }
}
integration "events" {
  type = "mqtt"
  endpoint {
    address = env.HOST
    port    = env.PORT
    tls     = env.TLS
  }
  auth {
    type = "certificate"
    cert = env.CERT
  }
  config {
    client_id = "nemo-${env.INSTANCE}"
  }
}
integration "ticks" {
  type = "timer"
  config {
    every = env.EVERY
  }
}
bus {
  curve {
    secret_key      = env.KEY
    authorized_keys = env.KEYS
  }
}
"""


def test_an_environment_that_is_not_there(loaded):
    """Each value gets a placeholder of its type or its default, so that a test needs no secret."""
    found = loaded("", ENVIRONMENT)
    shop, events, ticks = (found.integrations[name] for name in ("shop", "events", "ticks"))
    assert shop.endpoint.url == "https://placeholder-API_URL/rpc"
    assert shop.auth.token.get_secret_value() == "placeholder-API_TOKEN"
    assert (shop.config.batch, shop.resilience.limit.max_in_flight) == (True, 1)
    assert shop.resilience.timeout == found.integrations["ticks"].resilience.timeout
    assert (events.endpoint.address, events.endpoint.port) == ("placeholder-HOST", None)
    assert events.config.client_id == "nemo-placeholder-INSTANCE"
    assert ticks.config.every == 1
    assert found.bus.curve is not None


def test_only_placeholders_are_replaced(loaded, tmp_path):
    """A wrong value is a fault as ever, in the file as in the environment; so is a missing one for `run`."""
    file = tmp_path / "bridge.hcl"
    file.write_text(ENVIRONMENT, "utf-8")
    with pytest.raises(ConfigError, match="environment variable `API_TOKEN` is not set"):
        load([file], adapters=AdapterRegistry(), environ={})
    with pytest.raises(ConfigError, match='integration "shop" > resilience > timeout'):
        loaded("", ENVIRONMENT, TIMEOUT="soon")
    with pytest.raises(ConfigError) as caught:
        loaded("", ENVIRONMENT.replace('client_id = "', 'keep_alive = "never"\nclient_id = "'))
    assert len(caught.value.diagnostics) == 1
