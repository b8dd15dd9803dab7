"""NATS by nkey and by credentials file, against a server that knows keys and one in operator mode."""

import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bridge.adapters.nats.adapter import SPEC, NatsConfig
from bridge.core.endpoint import AuthCredentials, AuthNkey, Endpoint
from bridge.core.errors import AuthError, NotConnectedError
from bridge.core.ports import ProtocolAdapter
from tests.support.adapters.direct import Direct
from tests.support.adapters.setup import adapter_setup
from tests.support.servers.nats_jwt import Key, Operator
from tests.support.servers.nats_server import nats_server
from tests.support.sidecar.sidecar import sidecar


def _adapter(port: int, auth: Any, config: NatsConfig | None = None) -> Direct:
    endpoint = Endpoint(url=f"nats://127.0.0.1:{port}")
    return Direct(SPEC.create(adapter_setup("test", endpoint, auth, config=config or NatsConfig())))


def _nkey(key: Key) -> AuthNkey:
    return AuthNkey(type="nkey", seed=SecretStr(key.seed))


async def _refused(adapter: ProtocolAdapter) -> str:
    """Why a person is needed."""
    with pytest.raises(AuthError) as caught:
        await adapter.connect()
    await adapter.disconnect()
    assert caught.value.permanent
    return caught.value.message


async def test_an_nkey_opens_the_session() -> None:
    """A key that the server lists; another is refused, and so is nobody."""
    key = Key("user")
    with nats_server(f"authorization {{ users = [ {{ nkey: {key.public} }} ] }}") as server:
        adapter = _adapter(server.port, _nkey(key))
        await adapter.connect()
        await adapter.publish("t", "x")
        await adapter.disconnect()
        assert "Authorization Violation" in await _refused(_adapter(server.port, _nkey(Key("user"))))


async def test_a_server_that_asks_for_no_signature() -> None:
    """It is not told the key, and takes everybody."""
    with nats_server() as server:
        adapter = _adapter(server.port, _nkey(Key("user")))
        await adapter.connect()
        await adapter.check()
        await adapter.disconnect()


async def test_a_credentials_file_opens_the_session(tmp_path: Path) -> None:
    """In operator mode, JetStream included; the file is read anew for each session, so that it can be replaced."""
    operator, file = Operator(), tmp_path / "user.creds"
    auth = AuthCredentials(type="credentials", file=file)
    with nats_server(operator.settings) as server:
        file.write_text(operator.credentials())
        stream = {"stream": {"name": "jobs", "subjects": ["jobs"]}, "durable": "worker"}
        adapter = _adapter(server.port, auth, NatsConfig.model_validate(stream))
        await adapter.connect()
        await adapter.enqueue("jobs", {"n": 1})
        taken = await adapter.dequeue("jobs", wait=2.0)
        assert taken is not None
        assert taken.message == {"n": 1}
        await adapter.disconnect()
        adapter = _adapter(server.port, auth)
        file.write_text(operator.credentials(expires=int(time.time()) - 60))
        await _refused(adapter)
        adapter = _adapter(server.port, auth)
        file.write_text(Operator().credentials())
        await _refused(adapter)
        adapter = _adapter(server.port, auth)
        file.unlink()
        with pytest.raises((AuthError, NotConnectedError), match="cannot be read") as caught:
            await adapter.connect()
        assert caught.value.permanent
        await adapter.disconnect()


async def test_through_the_sidecar_nothing_is_shown(tmp_path: Path) -> None:
    """A wrong key is `failed`; neither seed nor JWT is in any event or in the log."""
    right, wrong, operator = Key("user"), Key("user"), Operator()
    file = tmp_path / "user.creds"
    file.write_text(operator.credentials())
    block = 'integration "{0}" {{\n type = "nats"\n endpoint {{\n url = "nats://127.0.0.1:{1}"\n }}\n'
    block += " auth {{\n {2}\n }}\n}}\n"
    with nats_server(f"authorization {{ users = [ {{ nkey: {right.public} }} ] }}") as server:
        text = block.format("good", server.port, 'type = "nkey"\n seed = "${env.GOOD_SEED}"')
        text += block.format("bad", server.port, 'type = "nkey"\n seed = "${env.BAD_SEED}"')
        text += block.format("file", server.port, f'type = "credentials"\n file = "{file}"')
        environ = {"GOOD_SEED": right.seed, "BAD_SEED": wrong.seed}
        with sidecar(text, environ=environ) as running, running.program() as program:
            for name, status in {"good": "connected", "bad": "failed", "file": "failed"}.items():
                await program.wait(f"health.{name}", lambda event, status=status: event["payload"]["status"] == status)
            said = running.text + str(program.log)
    for secret in (right.seed, wrong.seed, *(line for line in file.read_text().split("\n") if len(line) > 50)):
        assert secret not in said
