"""What the configuration's blocks mean for NATS."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from bridge.adapters.nats.adapter import SPEC, NatsAdapter
from bridge.adapters.nats.config import NatsConfig, resolve
from bridge.core.endpoint import (
    AuthBasic,
    AuthBearer,
    AuthCertificate,
    AuthCredentials,
    AuthNkey,
    AuthNone,
    Endpoint,
    Tls,
)
from bridge.core.model import Ack, Publish, Request
from bridge.core.ports import AdapterSetup
from tests.support.adapters.setup import adapter_setup


def _setup(endpoint: Endpoint | None = None, **more: object) -> AdapterSetup:
    return adapter_setup("test", endpoint or Endpoint(address="broker"), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("endpoint", "name", "tls"),
    [
        (Endpoint(address="broker"), "broker:4222", True),
        (Endpoint(address="broker", tls=False), "broker:4222", False),
        (Endpoint(address="broker", port=5000, tls=True), "broker:5000", True),
        (Endpoint(url="TLS://broker/"), "broker:4222", True),
        (Endpoint(address="nats://broker:4333"), "broker:4333", False),
        (Endpoint(address="::1"), "[::1]:4222", False),
        (Endpoint(url="nats://[::1]:99"), "[::1]:99", False),
    ],
)
def test_endpoints(endpoint: Endpoint, name: str, tls: bool) -> None:
    """Host, port and TLS in each form; there is a context whenever there is TLS."""
    target = resolve(_setup(endpoint), NatsConfig())
    assert ([server.name for server in target.servers], target.context is not None) == ([name], tls)


def test_more_servers_come_after_the_endpoint() -> None:
    """In the order in which they are written."""
    target = resolve(_setup(), NatsConfig(servers=("b", "c:1", "tls://d:2")))
    assert [server.name for server in target.servers] == ["broker:4222", "b:4222", "c:1", "d:2"]


@pytest.mark.parametrize(
    ("setup", "config", "words"),
    [
        (_setup(Endpoint(url="nats://broker/path")), NatsConfig(), "endpoint.url: NATS has no path; leave '/path' out"),
        (_setup(Endpoint(address="broker", path="/x")), NatsConfig(), "endpoint.path: NATS has no path"),
        (_setup(), NatsConfig(servers=("user:pw@b",)), "credentials do not belong"),
        (_setup(auth=AuthCertificate(type="certificate", cert=Path("c"))), NatsConfig(), "auth: c and its key"),
        (_setup(auth=AuthBasic(type="basic", password=SecretStr("p"))), NatsConfig(), "username is missing"),
        (_setup(Endpoint(url="tls://b"), tls=Tls(ca=Path("missing"))), NatsConfig(), "tls.ca"),
    ],
)
def test_what_cannot_work_is_said(setup: AdapterSetup, config: NatsConfig, words: str) -> None:
    """As ValueError in words, before anything runs."""
    with pytest.raises(ValueError, match=words):
        SPEC.create(adapter_setup(setup.integration, setup.endpoint, setup.auth, setup.tls, config))


def test_credentials_are_functions() -> None:
    """So that nothing secret shows where the target does."""
    basic = resolve(_setup(auth=AuthBasic(type="basic", username="u", password=SecretStr("p"))), NatsConfig())
    bearer = resolve(_setup(auth=AuthBearer(type="bearer", token=SecretStr("t"))), NatsConfig())
    assert (basic.credentials["user"], basic.credentials["password"]()) == ("u", "p")
    assert bearer.credentials["token"]() == "t"
    assert resolve(_setup(auth=AuthNone()), NatsConfig()).credentials == {}


@pytest.mark.parametrize(
    "config",
    [
        {"stream": {"name": "a.b", "subjects": ["x"]}},
        {"stream": {"name": "a", "subjects": []}},
        {"stream": {"name": "a", "subjects": ["x y"]}},
        {"stream": {"name": "a", "subjects": ["x..y"]}},
        {"durable": "a b"},
        {"inbox_prefix": "a.*"},
        {"codec": "xml"},
        {"unknown": 1},
    ],
)
def test_configurations_that_are_refused(config: dict[str, object]) -> None:
    """Names that JetStream would refuse, and unknown keys."""
    with pytest.raises(ValidationError):
        NatsConfig.model_validate(config)


def test_what_may_be_repeated() -> None:
    """Requests by configuration, acknowledging by nature."""
    adapter = NatsAdapter(_setup(config=NatsConfig(idempotent=("orders.get",))))
    assert adapter.is_idempotent(Request(method="orders.get"))
    assert not adapter.is_idempotent(Request(method="orders.create"))
    assert adapter.is_idempotent(Ack(message_id="1"))
    assert not adapter.is_idempotent(Publish(topic="t", message=1))


_SEED = "SUAP4ZTY3VNCZRUZZT4QBB5P3AEXMGIBNRHA7GFT4ADF5UZW6XAOERYG3U"  # of no account anywhere


@pytest.mark.parametrize("seed", ["", "SUAB", _SEED.lower(), _SEED[:-1] + "A", "x" * 58])
def test_what_is_no_seed_is_said_without_it(seed: str) -> None:
    """At once, and not when the server asks."""
    with pytest.raises(ValueError, match="no nkey seed") as caught:
        resolve(_setup(auth=AuthNkey(type="nkey", seed=SecretStr(seed))), NatsConfig())
    assert not seed or seed not in str(caught.value)


def test_a_seed_does_not_show() -> None:
    """Neither in the target nor in the setup that it is made from."""
    setup = _setup(auth=AuthNkey(type="nkey", seed=SecretStr(_SEED)))
    assert _SEED not in repr((setup, resolve(setup, NatsConfig())))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"nothing", "no user's seed"),
        (f"-----BEGIN USER NKEY SEED-----\n{_SEED}\n------END USER NKEY SEED------\n".encode(), "no user's JWT"),
    ],
)
def test_a_credentials_file_that_does_not_serve(tmp_path: Path, text: bytes | None, words: str) -> None:
    """What is wrong with it, and what writes a good one."""
    file = tmp_path / "user.creds"
    if text is not None:
        file.write_bytes(text)
    with pytest.raises(ValueError, match=words):
        resolve(_setup(auth=AuthCredentials(type="credentials", file=file)), NatsConfig())
