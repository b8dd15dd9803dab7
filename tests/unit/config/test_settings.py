"""Show how `bridge`, `log`, `bus` and `variable` blocks are read and checked."""

import pytest


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
        ("bridge {\n zzz = 1\n}", "bridge > zzz: unknown key; there are `data_dir`, "),
        (
            'bridge {\n status = "elsewhere:1"\n}',
            "bridge > status: 'elsewhere:1' is not an address to listen at; write",
        ),
        ('bridge {\n status = "0.0.0.0:9464"\n}', "bridge > status: 0.0.0.0:9464 can be read by everybody"),
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
        ('variable "n" { type = number }', {"n": "x"}, 'bridge.hcl:1: variable "n": its value is not a number'),
        ('variable "n" { type = bool }', {"n": "1"}, 'bridge.hcl:1: variable "n": its value is not a bool'),
        ('variable "n" { type = strin }', {"n": "1"}, 'bridge.hcl:1: variable "n" > type: must be'),
        (
            'variable "name" { default = 1 }',
            {"nme": "1"},
            "--var: nme: no `variable` block declares it (did you mean `name`?)",
        ),
        (
            'variable "n" { default = var.n }',
            {},
            'bridge.hcl:1: variable "n" > default: `var.n`: a variable cannot use another variable',
        ),
        ("bridge { name = var.nome }", {}, "bridge.hcl:1: bridge > name: there is no variable `nome`"),
        (
            'variable "n" { type = number }\nbridge { name = "${var.n}" }',
            {"n": "x"},
            'bridge.hcl:1: variable "n": its value is not a number',
        ),
    ],
)
def test_faults_of_variables(diagnostics, text, variables, wanted):
    """Each fault of a variable is reported once, at its line."""
    found = diagnostics(text, **variables)
    assert len(found) == 1
    assert found[0].startswith(wanted)


def test_beyond_loopback_by_name_only(load_text):
    """With `status_hosts` the status page may listen beyond this machine."""
    found = load_text('bridge {\n status = "0.0.0.0:9464"\n status_hosts = ["bridge.example"]\n}').bridge
    assert (found.status, found.status_hosts) == ("0.0.0.0:9464", ("bridge.example",))
