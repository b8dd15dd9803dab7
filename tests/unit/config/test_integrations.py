"""Show how `integration` blocks are read and checked."""

import os
import re
from pathlib import Path

import pytest


def _rpc(inner: str = "", endpoint: str = 'url = "https://h/rpc"') -> str:
    return f'integration "a" {{\n  type = "json-rpc"\n  endpoint {{\n    {endpoint}\n  }}\n{inner}\n}}\n'


def _mqtt(inner: str) -> str:
    return f'integration "a" {{\n  type = "mqtt"\n  endpoint {{\n    address = "h"\n  }}\n{inner}\n}}\n'


def test_every_part(load_text, tmp_path):
    """Each inner block becomes its model; relative paths start at the file."""
    for name in ("ca.pem", "c.pem", "w.txt"):
        (tmp_path / name).write_text("")
    found = load_text(
        _rpc(
            """
  auth {
    type = "certificate"
    cert = "c.pem"
  }
  tls {
    ca = "ca.pem"
    verify = false
  }
  config {
    idempotent = ["x.get"]
    words = "w.txt"
  }
  resilience {
    timeout = "2s"
    limit { rate = "30/m" }
  }
  health { interval = 5 }
"""
        )
    ).integrations["a"]
    assert found.auth.cert == tmp_path / "c.pem"
    assert (found.tls.ca, found.tls.verify) == (tmp_path / "ca.pem", False)
    assert (found.config.idempotent, found.config.words) == (("x.get",), tmp_path / "w.txt")
    assert (found.resilience.timeout, found.resilience.limit.rate) == (2.0, 0.5)
    assert (found.health.interval, found.health.timeout) == (5.0, 5.0)


def test_nemos_url_form(load_text):
    """`endpoint { url = "${var.api_url}/rpc" }` is accepted."""
    text = 'variable "api_url" { default = "https://h" }\n' + _rpc(endpoint='url = "${var.api_url}/rpc"')
    assert load_text(text).integrations["a"].endpoint.url == "https://h/rpc"


def test_inner_blocks_of_config(load_text):
    """A protocol's own blocks can be single, repeated, or repeated with labels."""
    found = load_text(
        _mqtt(
            """
  config {
    will { topic = "t" }
    schedule "x" { topic = "x1" }
    schedule "y" { topic = "y1" }
    several { topic = "s1" }
    several { topic = "s2" }
  }"""
        )
    ).integrations["a"]
    assert found.config.will.topic == "t"
    assert {name: will.topic for name, will in found.config.schedule.items()} == {"x": "x1", "y": "y1"}
    assert [will.topic for will in found.config.several] == ["s1", "s2"]


def test_a_protocol_without_endpoint(load_text, diagnostics):
    """A timer needs no endpoint, and refuses one."""
    text = 'integration "t" {\n  type = "timer"\n  config {\n    every = "1s"\n  }\n}\n'
    assert load_text(text).integrations["t"].endpoint is None
    found = diagnostics(text.replace("config", 'endpoint {\n address = "h"\n }\n config'))
    assert found == ['bridge.hcl:3: integration "t" > endpoint: `timer` has no remote; leave it out']


@pytest.mark.parametrize(
    ("text", "line", "wanted"),
    [
        ('integration "a" {}', 1, '"a": `type` is missing; there are `json-rpc`, `mqtt`, `stream`, `timer`'),
        (
            'integration "a" {\n type = "jsonrpc"\n}',
            2,
            '"a" > type: there is no `jsonrpc` (did you mean `json-rpc`? there are `',
        ),
        ('integration "a" {\n type = 5\n}', 2, '"a" > type: must be a string'),
        ('integration "a" {\n type = "json-rpc"\n}', 1, '"a": `json-rpc` needs an `endpoint` block'),
        ('integration "a" {\n type = "timer"\n}', 1, '"a" > config > every: is missing'),
        (
            'integration "a b" {\n type = "timer"\n config { every = 1 }\n}',
            1,
            '"a b": a label has letters, digits, `_` and `-` only',
        ),
        ('integration "bus" {\n type = "timer"\n config { every = 1 }\n}', 1, '"bus": the label `bus` is reserved'),
        (
            'integration "bridge" {\n type = "timer"\n config { every = 1 }\n}',
            1,
            '"bridge": the label `bridge` is reserved',
        ),
        (_rpc("enpoint {}"), 6, '"a" > enpoint: unknown key (did you mean `endpoint`?)'),
        (
            _rpc(endpoint='address = "a..b"'),
            4,
            '"a" > endpoint > address: "a..b" names no host: a part of its name is empty, or longer than 63 letters',
        ),
        (
            _rpc(endpoint=f'url = "https://{"h" * 64}.example/rpc"'),
            4,
            f'"a" > endpoint > url: "https://{"h" * 64}.example" names no host: a part of its name is empty, or longer',
        ),
        (
            _rpc(endpoint='address = "a b"'),
            4,
            "\"a\" > endpoint > address: 'a b' names no host: it has a space or a control character",
        ),
        (_rpc(endpoint="port = 1"), 3, '"a" > endpoint: give either `address` or `url`'),
        (
            _rpc(endpoint='address = "h"\n port = 99999'),
            5,
            '"a" > endpoint > port: must be less than or equal to 65535',
        ),
        (_rpc(endpoint='address = "h"\n port = "x"'), 5, '"a" > endpoint > port: must be a whole number'),
        (
            _rpc(endpoint='url = "ftp://h"'),
            4,
            '"a" > endpoint > url: `json-rpc` takes the schemes `http`, `https` only',
        ),
        (
            _rpc(endpoint='address = "https://h"\n tls = false'),
            5,
            '"a" > endpoint > tls: `tls` says false, but the address says "https"; leave `tls` out',
        ),
        (
            _rpc(endpoint='url = "https://u:p@h"'),
            4,
            '"a" > endpoint > url: credentials do not belong into the address; use an `auth` block',
        ),
        (_rpc("auth {}"), 6, '"a" > auth: `type` is missing; there are `basic`, `bearer`, `certificate`, `none`'),
        (
            _rpc('auth {\n type = "beare"\n}'),
            7,
            '"a" > auth > type: must be one of `basic`, `bearer`, `certificate`, `none` (did you mean `bearer`?)',
        ),
        (_rpc('auth {\n type = "bearer"\n}'), 6, '"a" > auth > token: is missing'),
        (_rpc('auth {\n type = "none"\n token = "x"\n}'), 8, '"a" > auth > token: unknown key'),
        (
            _mqtt('auth {\n type = "bearer"\n token = "x"\n}'),
            7,
            '"a" > auth > type: `mqtt` cannot use `bearer`; it takes `basic`, `certificate`, `none`',
        ),
        (
            _rpc("config {\n idempotant = []\n}"),
            7,
            '"a" > config > idempotant: unknown key (did you mean `idempotent`?)',
        ),
        (_rpc('config {\n batch = "maybe"\n}'), 7, '"a" > config > batch: must be true or false'),
        (_rpc("config {\n idempotent = [1]\n}"), 7, '"a" > config > idempotent > 0: must be a string'),
        (_rpc('config {\n words = "no.txt"\n}'), 7, '"a" > config > words: there is no such file'),
        (_rpc("config = 5"), 6, '"a" > config: is a block; write `config { … }`'),
        (
            _rpc("resilience {\n retry {\n max_attempts = 0\n}\n}"),
            8,
            '"a" > resilience > retry > max_attempts: must be greater than or equal to 1',
        ),
        (
            _rpc('resilience {\n retry {\n backoff = "exponentail"\n}\n}'),
            8,
            '"a" > resilience > retry > backoff: must be `constant`, `linear` or `exponential`',
        ),
        (
            _rpc("resilience {\n circuit_braker {}\n}"),
            7,
            '"a" > resilience > circuit_braker: unknown key (did you mean `circuit_breaker`?)',
        ),
        (_rpc("resilience {\n retry = 5\n}"), 7, '"a" > resilience > retry: is a block; write `retry { … }`'),
        (_mqtt("config {\n will {}\n}"), 7, '"a" > config > will > topic: is missing'),
    ],
)
def test_diagnostics(diagnostics, text, line, wanted):
    """Each fault is exactly one diagnostic, at the line of its key, or of the block that lacks it."""
    found = diagnostics(text)
    assert len(found) == 1
    assert found[0].startswith(f"bridge.hcl:{line}: integration {wanted}")


def test_files_that_must_exist(diagnostics, tmp_path):
    """Missing files of TLS authority, certificate and key are found before anything connects."""
    text = _rpc('tls { ca = "ca.pem" }\nauth {\n type = "certificate"\n cert = "c.pem"\n key = "k.pem"\n}')
    assert diagnostics(text) == [
        'bridge.hcl:6: integration "a" > tls > ca: there is no such file ca.pem',
        'bridge.hcl:9: integration "a" > auth > cert: there is no such file c.pem',
        'bridge.hcl:10: integration "a" > auth > key: there is no such file k.pem',
    ]


def test_pipes_are_no_certificates(diagnostics, tmp_path):
    """A pipe or a folder in place of a certificate is found before anything connects; nobody waits for it."""
    os.mkfifo(tmp_path / "ca.pem")
    (tmp_path / "c.pem").mkdir()
    text = _rpc('tls { ca = "ca.pem" }\nauth {\n type = "certificate"\n cert = "c.pem"\n}')
    assert diagnostics(text) == [
        'bridge.hcl:6: integration "a" > tls > ca: not a regular file ca.pem',
        'bridge.hcl:9: integration "a" > auth > cert: not a regular file c.pem',
    ]


def test_files_without_read_permission(diagnostics, tmp_path, monkeypatch):
    """A file without read permission, or in such a folder, is reported as that, and not as missing."""
    look = Path.stat

    def closed(path: Path, **options: bool) -> os.stat_result:
        if path.name == "c.pem":
            raise PermissionError(13, "Permission denied")
        return look(path, **options)

    (tmp_path / "k.pem").touch()
    monkeypatch.setattr(Path, "stat", closed)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "k.pem")
    assert diagnostics(_rpc('auth {\n type = "certificate"\n cert = "c.pem"\n key = "k.pem"\n}')) == [
        'bridge.hcl:8: integration "a" > auth > cert: the bridge may not read the file c.pem',
        'bridge.hcl:9: integration "a" > auth > key: the bridge may not read the file k.pem',
    ]


def test_all_diagnostics_at_once_in_order(diagnostics):
    """Faults in different blocks and keys are reported together, in order of lines."""
    found = diagnostics(_rpc("config {\n batch = 7\n x = 1\n}\nhealth { interval = 0 }") + 'log { level = "x" }\n')
    assert [int(line.split(":")[1]) for line in found] == [7, 8, 10, 12]


@pytest.mark.parametrize(
    "text",
    [
        _rpc("resilience { timeout = env.S }"),
        _rpc('resilience { timeout = "${env.S}s" }'),
        _rpc("config { batch = env.S }"),
        _rpc(endpoint="url = env.S"),
        _rpc(endpoint='url = "https://h:${env.S}/"'),
        _rpc("auth {\n type = env.S\n}"),
        _rpc('auth {\n type = "bearer"\n token = ["hunter2"]\n}'),
        _rpc('auth {\n type = "bearer"\n hunter = "hunter2"\n}'),
        _rpc('auth {\n type = "bearer"\n token = hunter2\n}'),
        _rpc('auth {\n type = "bearer"\n token = "hunter2\\q"\n}'),
        _rpc('auth {\n type = "bearer"\n token = hunter2(1)\n}'),
        _rpc('auth {\n type = "bearer"\n token = <<E\n${hunter2.}\nE\n}'),
        _rpc('auth {\n type = "bearer"\n token = 5hunter2\n}'),
        _rpc('auth {\n type = "bearer"\n token = -hunter2\n token = ["hunter2", hunter2]\n}'),
        _rpc('auth {\n type = "bearer"\n token = "x" hunter2 "\n}'),
        _rpc('auth = { type = "bearer", token = "hunter2" }'),
        'integration "a" {\n type = env.S\n}\n',
        'route "r" {\n on = [".${env.S}"]\n integration = env.S\n operation = "request"\n method = "m"\n}\n',
        'variable "v" {\n env = "S"\n type = number\n}\n',
        'variable "v" { env = "S" }\nlog { level = var.v }\n',
        "log { level = env.S + 1 }\n",
        "bus { max_message = env.S }\n",
    ],
)
def test_a_secret_is_never_repeated(diagnostics, text):
    """No diagnostic shows a value from the environment or from `auth`, whatever is wrong with it."""
    found = diagnostics(text, {"S": "hunter2"})
    assert found
    assert "hunter2" not in "\n".join(found)


@pytest.mark.parametrize(
    ("block", "key"),
    [
        ("bridge {\n  data_dir = %s\n}\n", "bridge > data_dir"),
        ('bus {\n  publish = "ipc://${%s}"\n  subscribe = "ipc://s"\n}\n', "bus > publish"),
        ('bus {\n curve {\n  secret_key = %s\n  authorized_keys = "k"\n }\n}\n', "bus > curve > secret_key"),
        (_rpc("tls {\n ca = %s\n}"), 'integration "a" > tls > ca'),
        (_rpc('auth {\n type = "certificate"\n cert = %s\n}'), 'integration "a" > auth > cert'),
        (_rpc("config {\n words = %s\n}"), 'integration "a" > config > words'),
    ],
)
@pytest.mark.parametrize(
    ("value", "why"),
    [
        ('"a\\u0000b"', "NUL character"),
        ('"~nobody-of-this-name/x"', "there is no such user"),
    ],
)
def test_what_can_be_no_path(diagnostics, block, key, value, why):
    """A path that the operating system cannot have, or with the home directory of nobody, is a diagnostic."""
    found = "\n".join(diagnostics(block % value))
    assert re.search(f"{re.escape(key)}: .*{why}", found)


def test_what_is_no_text_in_the_environment(diagnostics):
    """A value of the environment or of the command line that is not UTF-8 is a diagnostic, which does not show it."""
    found = diagnostics(_rpc('auth {\n type = "bearer"\n token = env.TOKEN\n}'), {"TOKEN": "hunter2\udcff"})
    assert found == ['bridge.hcl:8: integration "a" > auth > token: the environment variable `TOKEN` is not UTF-8 text']
    block = 'variable "v" {\n  env = "V"\n}\nlog {\n  level = var.v\n}\n'
    why = "the value of the environment variable `V` is not UTF-8 text"
    assert diagnostics(block, {"V": "\udcff"}) == [f'bridge.hcl:1: variable "v": {why}']
    assert diagnostics(block, v="\udcff") == ['bridge.hcl:1: variable "v": the value of --var v is not UTF-8 text']


def test_an_adapter_that_cannot_be_loaded(adapters, diagnostics):
    """An adapter that cannot be imported is one diagnostic, beside those about the rest of the file."""
    adapters.broken.add("json-rpc")
    found = diagnostics(_rpc(endpoint="port = 1"))
    assert len(found) == 2
    assert found[0].startswith('bridge.hcl:2: integration "a" > type: `json-rpc` is installed, but cannot be loaded')
    assert found[0].endswith("No module named 'aiopigeon'")


def test_an_unverified_certificate_is_a_warning(load_text):
    """`verify = false` is allowed, with a warning that names the line."""
    text = (
        'integration "a" {\n type = "json-rpc"\n endpoint {\n  url = "https://a"\n }\n tls {\n  verify = false\n }\n}'
    )
    (warning,) = load_text(text).warnings
    assert 'bridge.hcl:1: integration "a": `tls.verify = false`: anybody can pose as the remote' in str(warning)
    assert load_text(text.replace("false", "true")).warnings == ()


def test_credentials_in_the_clear_are_a_warning(load_text):
    """Credentials over a connection without TLS are a warning that names the line, and not the password."""
    auth = 'auth {\n type = "basic"\n password = env.PASSWORD\n}'
    text = _rpc(auth, "address = env.HOST\n port = 80")
    (warning,) = load_text(text, {"PASSWORD": "hunter2", "HOST": "inner.example"}).warnings
    assert 'bridge.hcl:1: integration "a": `auth`: the password travels unencrypted to inner.example:80;' in str(
        warning
    )
    assert "hunter2" not in repr(warning)
    assert (
        load_text(text.replace("port = 80", "port = 443"), {"PASSWORD": "hunter2", "HOST": "inner.example"}).warnings
        == ()
    )
    assert load_text(text, {"PASSWORD": "hunter2", "HOST": "127.0.0.1"}).warnings == ()


@pytest.mark.parametrize("value", ["pw", "hunter2", "the-password", "use", "credentials", "x y", "#", ""])
@pytest.mark.parametrize("text", ["http://user:${env.X}@h/rpc", "http://${env.X}:pw@h", "${env.X}@h", "${env.ALL}"])
def test_credentials_in_an_address(diagnostics, text, value):
    """The diagnostic says why, and what is right, whatever the secret is; it does not show it."""
    environ = {"X": value, "ALL": f"http://user:{value}@h/rpc"}
    (line,) = diagnostics(_rpc(endpoint=f'url = "{text}"'), environ)
    place = 'bridge.hcl:4: integration "a" > endpoint > url: '
    assert line.startswith(place)
    assert "hunter2" not in line
    if not set(value) & set("/ #"):
        assert line == f"{place}credentials do not belong into the address; use an `auth` block"


@pytest.mark.parametrize(
    "value", ["hunter2/abc", "hunter2#abc", "abc?hunter2", "hunter2 abc", "hunter2..abc", "abc:hunter2"]
)
@pytest.mark.parametrize(
    "text", ["x${env.X}y", "http://x y${env.X}z", "http://u:x${env.X}y@h", "${env.X}", "x${env.X}@h"]
)
def test_a_piece_of_a_secret_is_never_repeated(diagnostics, text, value):
    """Whatever piece of an address a diagnostic is about, it shows nothing of the environment's part."""
    for key in ("url", "address"):
        found = "\n".join(diagnostics(_rpc(endpoint=f'{key} = "{text}"'), {"X": value}))
        assert not re.search("hunter2|abc", found), found


def test_only_the_secret_part_of_a_value_is_secret(diagnostics):
    """A diagnostic may repeat what the file itself says, beside the value from the environment."""
    text = _rpc(endpoint='url = "http://${env.X}.example:99999/"')
    (line,) = diagnostics(text, {"X": "q7"})
    assert line.endswith("its value is not valid (it is not shown, because it is secret)")


def test_an_address_from_the_environment_is_not_repeated(diagnostics):
    """A diagnostic about an address from the environment has its location, and not its value."""
    (line,) = diagnostics(_rpc(endpoint='address = "http://${env.HOST}"\n tls = true'), {"HOST": "inner.example"})
    assert '"a" > endpoint > tls: `tls` says true, but the address says "http"' in line
    (line,) = diagnostics(_rpc(endpoint="address = env.HOST"), {"HOST": "inner..example"})
    assert '"a" > endpoint > address: ' in line
    assert "inner" not in line


def _stream(url: str) -> str:
    subscription = 'subscription "s" {\n  integration = "a"\n  topic = "t"\n}\n'
    return f'integration "a" {{\n  type = "stream"\n  endpoint {{\n    {url}\n  }}\n}}\n{subscription}'


def test_the_scheme_chooses_the_transport(load_text, diagnostics):
    """Each transport of a protocol has its own operations; for a wrong scheme all valid ones are listed."""
    assert load_text(_stream('url = "river://h"')).integrations["a"].spec.schemes == {"river": (2, True)}
    for url in ('url = "stream://h"', 'address = "h"'):
        (line,) = diagnostics(_stream(url))
        assert "`a` is `stream`, which has no `subscribe`" in line
    unknown = "\n".join(diagnostics(_stream('url = "sea://h"')))
    assert "takes the schemes `river`, `stream` only" in unknown
    contrary = "\n".join(diagnostics(_stream('address = "river://h"\n    tls = false')))
    assert 'endpoint > tls: `tls` says false, but the address says "river"' in contrary
