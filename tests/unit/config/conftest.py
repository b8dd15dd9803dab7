"""Two adapters, and fixtures that load a configuration from a string."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, FilePath, SecretStr

from bridge.config import Configuration, load
from bridge.core.endpoint import Strict
from bridge.core.errors import ConfigError
from bridge.core.ports import AdapterSetup, AdapterSpec, ProtocolAdapter
from bridge.core.units import Duration


class RpcConfig(Strict):
    idempotent: tuple[str, ...] = ()
    batch: bool = False
    seed: SecretStr | None = None
    words: FilePath | None = None


class Will(Strict):
    topic: str
    message: str = ""


class MqttConfig(Strict):
    client_id: str | None = None
    keep_alive: Duration = 60.0
    will: Will | None = None
    schedule: dict[str, Will] = Field(default_factory=dict)
    several: tuple[Will, ...] = ()


class TimerConfig(Strict):
    every: Duration


def _create(setup: AdapterSetup) -> ProtocolAdapter:
    raise NotImplementedError(setup)


SPECS = {
    "json-rpc": AdapterSpec(
        protocol="json-rpc",
        summary="JSON-RPC 2.0 over HTTP",
        operations=frozenset({"request"}),
        auth=frozenset({"basic", "bearer", "certificate"}),
        config=RpcConfig,
        schemes={"https": (443, True), "http": (80, False)},
        create=_create,
        has_session=False,
    ),
    "mqtt": AdapterSpec(
        protocol="mqtt",
        summary="MQTT",
        operations=frozenset({"publish", "subscribe", "unsubscribe"}),
        auth=frozenset({"basic", "certificate"}),
        config=MqttConfig,
        schemes={"mqtt": (1883, False), "mqtts": (8883, True)},
        create=_create,
        acknowledges=frozenset({"subscribe"}),
        unfit_to_hold=lambda config: None if config.client_id else "set a `client_id` in `config`",
        has_qos=True,
    ),
    "stream": AdapterSpec(
        protocol="stream",
        summary="queues",
        operations=frozenset({"enqueue", "dequeue", "ack", "nack"}),
        auth=frozenset({"basic"}),
        config=Strict,
        schemes={"stream": (1, False)},
        create=_create,
        transports=(
            AdapterSpec(
                protocol="stream",
                summary="queues that also tell",
                operations=frozenset({"enqueue", "subscribe"}),
                auth=frozenset({"basic"}),
                config=Strict,
                schemes={"river": (2, True)},
                create=_create,
            ),
        ),
    ),
    "timer": AdapterSpec(
        protocol="timer",
        summary="a clock",
        operations=frozenset({"subscribe"}),
        auth=frozenset(),
        config=TimerConfig,
        schemes={},
        create=_create,
        needs_endpoint=False,
    ),
}


class Adapters(dict[str, AdapterSpec]):
    """The adapters that these tests know; one whose name is in `broken` cannot be imported."""

    def __init__(self) -> None:
        super().__init__(SPECS)
        self.broken: set[str] = set()

    def __getitem__(self, name: str) -> AdapterSpec:
        if name in self.broken:
            raise ImportError("No module named 'aiopigeon'")
        return super().__getitem__(name)


@pytest.fixture
def adapters() -> Adapters:
    """The adapters that these tests know."""
    return Adapters()


@pytest.fixture
def load_text(tmp_path: Path, adapters: Adapters) -> Callable[..., Configuration]:
    """Return a function that loads a string as one file; `environ` and `variables` as in `load`."""

    def loaded(text: str, environ: dict[str, str] | None = None, **variables: str) -> Configuration:
        file = tmp_path / "bridge.hcl"
        file.write_text(text, encoding="utf-8")
        return load([file], adapters=adapters, environ=environ or {}, variables=variables)

    return loaded


@pytest.fixture
def diagnostics(load_text: Callable[..., Configuration], tmp_path: Path) -> Callable[..., list[str]]:
    """Return a function that gives the diagnostics of a string, as in `bridge.hcl:3: …`; it fails if there are none."""

    def found(text: str, environ: dict[str, str] | None = None, **variables: Any) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load_text(text, environ, **variables)
        return [str(one).replace(f"{tmp_path}/", "") for one in caught.value.diagnostics if one.severity == "error"]

    return found
