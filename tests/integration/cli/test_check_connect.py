"""`nemo-bridge check --connect` and `adapters`, as a person runs them."""

import subprocess
from pathlib import Path

from tests.support.servers.demo import demo_service
from tests.support.servers.nats_server import nats_server
from tests.support.sidecar import fork_server


def _cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return fork_server.run(*arguments)


def _configuration(folder: Path, url: str, extra: str = "", protocol: str = "json-rpc") -> str:
    file = folder / "bridge.hcl"
    file.write_text(f'integration "api" {{\n  type = "{protocol}"\n  endpoint {{\n    url = "{url}"\n  }}\n{extra}}}\n')
    return str(file)


def test_an_endpoint_that_answers_is_connected(tmp_path):
    """The check is the sidecar's own; exit code 0."""
    with demo_service() as service:
        done = _cli("check", "--connect", _configuration(tmp_path, service.url))
    assert (done.returncode, done.stderr) == (0, "")
    assert "api: json-rpc  connected" in done.stdout


def test_a_dead_endpoint_is_told_and_exits_with_1(tmp_path):
    """Without --connect the same file is fine."""
    with demo_service() as service:
        url = service.url
    file = _configuration(tmp_path, url)
    done = _cli("check", "--connect", file)
    assert done.returncode == 1
    assert "api: json-rpc  not_connected" in done.stdout
    assert _cli("check", file).returncode == 0


def test_a_frozen_endpoint_does_not_hang_the_check(tmp_path):
    """It accepts connections; that is not enough."""
    limits = '  resilience {\n    timeout = "200ms"\n  }\n  health {\n    timeout = "200ms"\n  }\n'
    with demo_service() as service:
        service.freeze()
        done = _cli("check", "--connect", _configuration(tmp_path, service.url, limits))
        service.thaw()
    assert done.returncode == 1
    assert "no answer within 0.4 s" in done.stdout


def test_wrong_credentials_are_told_without_showing_them(tmp_path):
    """The kind is `auth`; the token is nowhere."""
    with demo_service("--token", "right-token") as service:
        auth = '  auth {\n    type = "bearer"\n    token = "wrong-token"\n  }\n'
        done = _cli("check", "--connect", _configuration(tmp_path, service.url, auth))
    assert done.returncode == 1
    assert "auth:" in done.stdout
    assert "wrong-token" not in done.stdout + done.stderr


def test_what_works_only_in_part_is_told(tmp_path):
    """A stream that the server cannot make: the session opens, and the exit code is 1."""
    config = '  config {\n    stream {\n      name = "S"\n      subjects = ["a"]\n    }\n  }\n'
    with nats_server(jetstream=False) as server:
        file = _configuration(tmp_path, f"nats://127.0.0.1:{server.port}", config, "nats")
        done = _cli("check", "--connect", file)
    assert done.returncode == 1
    assert "api: nats  connected, but JetStream: " in done.stdout


def test_adapters_are_listed_from_their_models():
    """Names, operations, kinds of auth, and each configuration key with its meaning."""
    done = _cli("adapters")
    assert done.returncode == 0
    for word in ("json-rpc", "request", "bearer", "https (443, TLS)", "idempotent", "max_response"):
        assert word in done.stdout


def test_a_bus_that_cannot_be_hosted_is_a_complaint(tmp_path):
    """Beyond loopback, TCP would be open to everybody."""
    file = tmp_path / "bridge.hcl"
    file.write_text('bus {\n  publish = "tcp://0.0.0.0:5571"\n}\n')
    done = _cli("check", str(file))
    assert done.returncode == 2
    assert "TCP beyond loopback" in done.stderr
