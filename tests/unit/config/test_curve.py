"""Show what the `bus { curve { … } }` block accepts."""

from pathlib import Path

import pytest

from bridge.cli.check import check
from bridge.cli.sidecar import read
from bridge.core.errors import ConfigError
from tests.support.bus.curve import KeyRing

BLOCK = """bus {{
  mode      = "{mode}"
  publish   = "{publish}"
  subscribe = "tcp://0.0.0.0:48622"
  curve {{
    {keys}
  }}
}}
"""


def write(tmp_path: Path, *keys: str, mode: str = "host", publish: str = "tcp://0.0.0.0:48621") -> Path:
    """Write a configuration beside a folder of keys."""
    ring = KeyRing(tmp_path / "keys")
    ring.listed("app", "order.**")
    file = tmp_path / "bridge.hcl"
    file.write_text(BLOCK.format(mode=mode, publish=publish, keys="\n    ".join(keys)))
    return file


def diagnostics(file: Path) -> str:
    """Return the diagnostics of a configuration."""
    with pytest.raises(ConfigError) as raised:
        check([file], (), connect=False, strict=False, as_json=False)
    return str(raised.value).replace(str(file), file.name)


SECRET = 'secret_key = "keys/bridge.key_secret"'
LIST = 'authorized_keys = "keys/authorized"'
SERVER = 'server_key = "keys/bridge.key"'


def test_host_and_connect(tmp_path: Path) -> None:
    """Key paths start at the file that names them; with keys, the bus may use TCP beyond this machine."""
    found = read([write(tmp_path, SECRET, LIST)])
    assert found.bus.curve is not None
    assert found.bus.curve.authorized_keys == tmp_path / "keys" / "authorized"
    assert check([tmp_path / "bridge.hcl"], (), connect=False, strict=False, as_json=False) == 0
    other = tmp_path / "other"
    other.mkdir()
    file = write(other, SECRET, SERVER, mode="connect", publish="tcp://bridge.example.com:48621")
    assert check([file], (), connect=False, strict=False, as_json=False) == 0


def test_tcp_without_keys(tmp_path: Path) -> None:
    """TCP beyond this machine without keys is refused, at the line of the endpoint."""
    file = tmp_path / "bridge.hcl"
    file.write_text('bus {\n  publish   = "ipc:///run/x/p"\n  subscribe = "tcp://0.0.0.0:48622"\n}\n')
    said = diagnostics(file)
    assert said.startswith(
        "bridge.hcl:3: bus > subscribe: bus endpoint 'tcp://0.0.0.0:48622': TCP beyond loopback needs"
    )


@pytest.mark.parametrize(
    ("keys", "mode", "wanted"),
    [
        ((SECRET,), "host", "authorized_keys: is missing"),
        ((SECRET,), "connect", "server_key: is missing"),
        ((SECRET, LIST, SERVER), "host", "bridge.hcl:8: bus > curve > server_key: is not used with"),
        ((SECRET, LIST, SERVER), "connect", "bridge.hcl:7: bus > curve > authorized_keys: is not used with"),
        ((LIST,), "host", "secret_key: is missing"),
        (('secret_key = "keys/none"', LIST), "host", "bridge.hcl:6: bus > curve > secret_key: "),
        (('secret_key = "keys/bridge.key"', LIST), "host", "others can read this secret key (mode 0644); chmod 600"),
        ((SECRET, 'authorized_keys = "keys/none"'), "host", "bridge.hcl:7: bus > curve > authorized_keys: "),
        ((SECRET, 'server_key = "bridge.hcl"'), "connect", "bridge.hcl:7: bus > curve > server_key: "),
        ((SECRET, "secretkey = 1", LIST), "host", "bus > curve > secretkey: unknown key (did you mean `secret_key`?)"),
    ],
)
def test_faults(tmp_path: Path, keys: tuple[str, ...], mode: str, wanted: str) -> None:
    """Each fault of the keys is one diagnostic with its line."""
    assert wanted in diagnostics(write(tmp_path, *keys, mode=mode))
