"""Show how `bridge`, `log`, `bus` and `variable` blocks are read and checked."""

import importlib.metadata
import json

import pytest

from bridge.config.changes import Snapshot, plan_of
from bridge.config.show import show


def test_all_keys(load_text, tmp_path):
    """Each key of the three blocks is read, in seconds and bytes, with paths that start at the file."""
    found = load_text(
        """
bridge {
  name = "left"
  heartbeat = "250ms"
  drain_timeout = 3
  data_dir = "state"
  stop_with = null
  status = "[::1]:0"
  outbox {
    max_bytes = "64MiB"
    max_age = "2h"
  }
}
log {
  level = "debug"
  format = "json"
}
bus {
  mode = "connect"
  publish = "ipc://run/pub.sock"
  subscribe = "tcp://127.0.0.1:5556"
  max_message = "64KiB"
}
"""
    )
    assert found.bridge.model_dump() == {
        "name": "left",
        "heartbeat": 0.25,
        "drain_timeout": 3.0,
        "data_dir": tmp_path / "state",
        "outbox": {"max_bytes": 64 << 20, "max_age": 7200.0},
        "stop_with": None,
        "status": "[::1]:0",
        "status_hosts": (),
        "console": {"tap": None, "actions": False, "token": None},
        "tracing": False,
    }
    assert found.bridge.source == "bridge/left"
    assert found.log.model_dump() == {"level": "debug", "format": "json"}
    assert (found.bus.mode, found.bus.publish) == ("connect", f"ipc://{tmp_path}/run/pub.sock")
    assert (found.bus.subscribe, found.bus.max_message) == ("tcp://127.0.0.1:5556", 65536)


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        ('bridge {\n name = "a b"\n}', "bridge > name: may hold letters, digits, `_` and `-` only"),
        ('bridge {\n heartbeat = "5x"\n}', "bridge > heartbeat: '5x' is not a duration; write"),
        ("bridge {\n heartbeat = 0\n}", "bridge > heartbeat: must be greater than 0"),
        ("bridge {\n name = null\n}", "bridge > name: must not be null"),
        ("bridge {\n heartbaet = 1\n}", "bridge > heartbaet: unknown key (did you mean `heartbeat`?)"),
        ("bridge {\n zzz = 1\n}", "bridge > zzz: unknown key; there are `console`, `data_dir`, "),
        (
            'bridge {\n status = "elsewhere:1"\n}',
            "bridge > status: 'elsewhere:1' is not an address to listen at; write",
        ),
        ('bridge {\n status = "0.0.0.0:9464"\n}', "bridge > status: 0.0.0.0:9464 can be read by everybody"),
        ("bridge {\n console { actions = true }\n}", "bridge > console: `actions = true` needs a `token` of 16 char"),
        (
            'bridge {\n console { token = "fifteen-letters" }\n}',
            "bridge > console > token: has fewer than 16 characters, so that it can be found by trying",
        ),
        ('bridge {\n stop_with = "a b"\n}', "bridge > stop_with: not an event type: 'a b' holds a space"),
        ("bus {\n curve {}\n}", "bus > curve > secret_key: is missing"),
        ('bus {\n mode = "hst"\n}', "bus > mode: must be `host` or `connect` (did you mean `host`?)"),
        ('bus {\n publish = "http://x"\n}', "bus > publish: a bus endpoint starts with `ipc://` or `tcp://`"),
        ("log {\n level = info\n}", 'log > level: `info` is a bare word; write "info" in quotes'),
        ("log {\n level = event.type\n}", "log > level: `event.type`: its value must be known when the file is loaded"),
        ("log {\n level = 5\n}", "log > level: must be `debug`, `info`, `warning` or `error`"),
    ],
)
def test_diagnostics(diagnostics, block, wanted):
    """Each wrong key is one diagnostic with its line."""
    found = diagnostics(block)
    assert len(found) == 1
    assert found[0].startswith(f"bridge.hcl:2: {wanted}")


def test_traces_need_their_extra(load_text, diagnostics, monkeypatch):
    """Where it is not installed, the message says how to install it; where nothing is traced, nobody needs it."""
    assert load_text("bridge {\n tracing = true\n}").bridge.tracing

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert diagnostics("bridge {\n tracing = true\n}") == [
        "bridge.hcl:2: bridge > tracing: traces need more packages; install them with `pip install 'nemo-bridge[otel]'`"
    ]
    assert not load_text("bridge {\n tracing = false\n}").bridge.tracing


def test_a_variable_has_a_default_an_environment_and_a_command_line(load_text):
    """`--var` overrides the environment, the environment overrides the default."""
    text = 'variable "n" {\n  type = "string"\n  env = "NAME"\n  default = "a"\n}\nbridge { name = "${var.n}" }\n'
    assert load_text(text).bridge.name == "a"
    assert load_text(text, {"NAME": "b"}).bridge.name == "b"
    assert load_text(text, {"NAME": "b"}, n="c").bridge.name == "c"


@pytest.mark.parametrize("kind", ["number", '"number"'])
def test_a_variable_keeps_its_type(load_text, kind):
    """A number from the command line stays a number; `type` may be a bare word."""
    text = f'variable "n" {{\n  type = {kind}\n}}\nbridge {{ drain_timeout = "${{var.n}}" }}\n'
    assert load_text(text, n="2.5").bridge.drain_timeout == 2.5


def test_structured_variables(load_text):
    """Lists and maps can be variables; expressions can use parts of them."""
    text = """
variable "all" {
  type    = map
  default = { host = ["a", "b"], seconds = 2 }
}
bridge {
  name          = "x-${var.all.host[1]}"
  drain_timeout = var.all.seconds * 1.5
  heartbeat     = var.all.seconds > 1 ? "4s" : "1s"
}
"""
    found = load_text(text).bridge
    assert (found.name, found.drain_timeout, found.heartbeat) == ("x-b", 3.0, 4.0)


@pytest.mark.parametrize(
    ("text", "variables", "wanted"),
    [
        ('variable "n" {}', {}, 'bridge.hcl:1: variable "n": has no value; give it a `default`, or --var n=…'),
        (
            'variable "n" { env = "N" }',
            {},
            'bridge.hcl:1: variable "n": has no value; give it a `default`, or --var n=… or the environment',
        ),
        (
            'variable "n" { type = number }',
            {"n": "x"},
            'bridge.hcl:1: variable "n": the value of --var n must be a number, such as 5 or 2.5',
        ),
        (
            'variable "n" { type = bool }',
            {"n": "1"},
            'bridge.hcl:1: variable "n": the value of --var n must be `true` or `false`',
        ),
        (
            'variable "n" {\n  type    = int\n  default = 2.5\n}',
            {},
            'bridge.hcl:3: variable "n" > default: must be a whole number, such as 5; the type `float` takes 2.5, too',
        ),
        (
            'variable "n" {\n  type    = string\n  default = 2\n}',
            {"n": "x"},
            'bridge.hcl:3: variable "n" > default: must be a string; write it in quotes',
        ),
        ('variable "n" { type = strin }', {"n": "1"}, 'bridge.hcl:1: variable "n" > type: must be'),
        (
            'variable "name" { default = 1 }',
            {"nme": "1"},
            "--var: nme: no `variable` block declares it (did you mean `name`?)",
        ),
        (
            'variable "n" { default = var.n }',
            {},
            'bridge.hcl:1: variable "n" > default: a circle of variables: `var.n` → `var.n`; give one of them',
        ),
        (
            'variable "name" { default = var.nme }',
            {},
            'bridge.hcl:1: variable "name" > default: there is no variable `nme` (did you mean `name`?)',
        ),
        (
            'variable "a" { default = var.b }\nvariable "b" { default = env.NOT_SET }\nbridge { name = var.a }',
            {},
            'bridge.hcl:2: variable "b" > default: the environment variable `NOT_SET` is not set',
        ),
        ("bridge { name = var.nome }", {}, "bridge.hcl:1: bridge > name: there is no variable `nome`"),
        (
            'variable "n" { type = number }\nbridge { name = "${var.n}" }',
            {"n": "x"},
            'bridge.hcl:1: variable "n": the value of --var n must be a number',
        ),
    ],
)
def test_faults_of_variables(diagnostics, text, variables, wanted):
    """Each fault of a variable is reported once, at its line."""
    found = diagnostics(text, **variables)
    assert len(found) == 1
    assert found[0].startswith(wanted)


_USE = """
integration "a" {
  type = "mqtt"
  endpoint {
    address = "h"
  }
}
route "r" {
  on          = ["a.*"]
  integration = "a"
  operation   = "publish"
  topic       = "t"
  message     = "${var.n}"
}
"""
_TYPED = [
    ("int", "5", 5),
    ("int", "-5.0", -5),
    ("int", "18446744073709551615", (1 << 64) - 1),
    ("int", "2.5", None),
    ("int", "true", None),
    ("int", "1e400", None),
    ("int", "18446744073709551616", None),
    ("float", "5", 5.0),
    ("float", "2.5", 2.5),
    ("float", "NaN", None),
    ("float", "x", None),
    ("number", "5", 5),
    ("number", "2.5", 2.5),
    ("number", "null", None),
    ("bool", "true", True),
    ("bool", "false", False),
    ("bool", "0", None),
    ("list", "[1, 2.5]", [1, 2.5]),
    ("list", "[1e999]", None),
    ("list", "[" * 100_000, None),
    ("map", '{"a": 1}', {"a": 1}),
    ("map", "[]", None),
    ("string", "5", "5"),
    ("any", "5", "5"),
]


@pytest.mark.parametrize("case", _TYPED, ids=[f"{kind}-{text[:20]}" for kind, text, _ in _TYPED])
@pytest.mark.parametrize("way", ["given", "environment", "default"])
def test_the_type_of_a_variable(load_text, diagnostics, way, case):
    """A value becomes one of its type, wherever it comes from; one that does not fit is reported with what would."""
    kind, text, wanted = case
    source = f"default = {json.dumps(text)}" if way == "default" else 'env = "N"'
    whole = f'variable "n" {{\n  type = {kind}\n  {source}\n}}\n{_USE}'
    environ = {"N": text} if way == "environment" else {}
    given = {"n": text} if way == "given" else {}
    if wanted is None:
        (found,) = diagnostics(whole, environ, **given)
        place = '3: variable "n" > default: ' if way == "default" else '1: variable "n": the value of '
        assert found.startswith(f"bridge.hcl:{place}")
        assert "must be " in found
    else:
        (route,) = load_text(whole, environ, **given).routes
        found = route.message.evaluate({})
        assert (found, type(found)) == (wanted, type(wanted))


def test_defaults_of_variables_that_use_each_other(load_text):
    """A default may use the environment and other variables, whatever the order; the type is kept."""
    text = """
bridge {
  name          = var.name
  drain_timeout = "${var.seconds}"
}
variable "name" { default = "${var.place}-${var.number}" }
variable "seconds" { default = var.all.seconds * 2 }
variable "place" { default = env.PLACE }
variable "number" {
  type    = int
  default = env.NUMBER
}
variable "all" { default = { seconds = var.number } }
"""
    found = load_text(text, {"PLACE": "here", "NUMBER": "3"}).bridge
    assert (found.name, found.drain_timeout) == ("here-3", 6.0)


def test_a_default_that_is_not_needed(load_text):
    """Where `--var` or the environment gives the value, the default demands nothing of the environment."""
    text = 'variable "n" {\n  env = "NAME"\n  default = env.NOT_SET\n}\nbridge { name = var.n }\n'
    assert load_text(text, n="a").bridge.name == "a"
    assert load_text(text, {"NAME": "b"}).bridge.name == "b"


def test_circles_of_variables(diagnostics):
    """Each circle is one complaint that names the way round, whoever gives a value; what depends on one adds none."""
    text = """
variable "a" { default = "${var.b}/x" }
variable "b" { default = [var.c] }
variable "c" { default = upper(var.a) }
variable "d" {
  default = var.e
}
variable "e" { default = { one = var.d } }
variable "f" { default = var.a }
bridge { name = "${var.f}" }
"""
    found = diagnostics(text, a="1")
    assert [one.partition("; ")[0] for one in found] == [
        'bridge.hcl:2: variable "a" > default: a circle of variables: `var.a` → `var.b` → `var.c` → `var.a`',
        'bridge.hcl:6: variable "d" > default: a circle of variables: `var.d` → `var.e` → `var.d`',
    ]


def test_very_many_variables(load_text, diagnostics):
    """A chain of thousands is resolved; where each is in a circle with each before it, some of them are told."""
    chain = [f'variable "v{number}" {{ default = var.v{number + 1} }}' for number in range(1500)]
    last = 'variable "v1500" { default = "end" }\nbridge { name = var.v0 }'
    assert load_text("\n".join([*chain, last])).bridge.name == "end"
    circles = [f'variable "v{number}" {{ default = [var.v0, var.v{(number + 1) % 500}] }}' for number in range(500)]
    assert 1 <= len(diagnostics("\n".join(circles))) <= 10


def test_beyond_loopback_by_name_only(load_text):
    """With `status_hosts` the status page may listen beyond this machine."""
    found = load_text('bridge {\n status = "0.0.0.0:9464"\n status_hosts = ["bridge.example"]\n}').bridge
    assert (found.status, found.status_hosts) == ("0.0.0.0:9464", ("bridge.example",))


def test_the_token_of_the_console_is_a_secret(load_text):
    """It is masked wherever the configuration is shown, and removed from texts, wherever it came from."""
    found = load_text('bridge {\n console {\n  actions = true\n  token = "correct-horse-battery"\n }\n}')
    token = found.bridge.console.token
    assert token.get_secret_value() == "correct-horse-battery"
    assert "correct-horse-battery" in found.secrets
    shown = show(found)
    assert "correct-horse-battery" not in shown + repr(found)
    assert '    token = "***"' in shown
    other = load_text('bridge {\n console {\n  actions = true\n  token = "incorrect-horse-battery"\n }\n}')
    plan = plan_of(Snapshot.of(found), Snapshot.of(other))
    assert (plan.needs_restart, plan.settings) == (["bridge"], {"bridge": {"console.token": ["***", "***"]}})


def test_a_console_that_others_can_open(load_text):
    """Where it can act, or shows events, that is a warning; on this machine it is none."""
    console = 'console {\n  tap = true\n  actions = true\n  token = "correct-horse-battery"\n }'
    assert load_text(f"bridge {{\n {console}\n}}").warnings == ()
    found = load_text(f'bridge {{\n status = "0.0.0.0:9464"\n status_hosts = ["bridge.example"]\n {console}\n}}')
    assert [one.block for one in found.warnings] == ["bridge > console > actions", "bridge > console > tap"]
    assert "without TLS" in found.warnings[0].message
    assert "sees the events of the bus" in found.warnings[1].message
