"""`nemo-bridge adapters`: each adapter in its own words, and one that is broken beside the others."""

from typing import Annotated

import pytest
from pydantic import Field

from bridge.cli import adapters
from bridge.core.endpoint import Strict
from bridge.core.ports import AdapterBase, AdapterSetup, AdapterSpec
from bridge.core.units import Duration, Size


class Config(Strict):
    """One key of each kind of default."""

    needed: Annotated[str, Field(description="a list in brackets: [red]a[/], [b]")]
    flag: bool = True
    maybe: str | None = None
    several: tuple[str, ...] = ()
    made: Annotated[dict[str, str], Field(default_factory=dict)]
    wait: Duration = 30.0
    size: Size = 65_536


def _create(_: AdapterSetup) -> AdapterBase:
    return AdapterBase()


PIGEON = AdapterSpec(
    protocol="pigeon",
    summary="carrier pigeons [/bold], homing",
    operations=frozenset({"publish"}),
    auth=frozenset({"bearer"}),
    config=Config,
    schemes={"coop": (1, False), "coops": (2, True)},
    create=_create,
    transports=(
        AdapterSpec(
            protocol="pigeon",
            summary="by night",
            operations=frozenset({"publish", "request"}),
            auth=frozenset({"bearer"}),
            config=Config,
            schemes={"owl": (3, False)},
            create=_create,
        ),
    ),
)


class Registry(dict[str, AdapterSpec]):
    """Two adapters, one of which is broken."""

    def __init__(self) -> None:
        super().__init__(broken=PIGEON, pigeon=PIGEON)

    def __getitem__(self, name: str) -> AdapterSpec:
        if name == "broken":
            raise ImportError("no module [/nested]")
        return super().__getitem__(name)


def test_the_listing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Brackets in an author's text are no markup; what cannot be loaded does not hide the rest."""
    monkeypatch.setattr(adapters, "AdapterRegistry", Registry)
    monkeypatch.setenv("COLUMNS", "120")
    adapters.show()
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line]
    assert lines == [
        "broken cannot be loaded: no module [/nested]",
        "pigeon carrier pigeons [/bold], homing",
        "operations publish",
        "over owl also request",
        "auth bearer, none",
        "endpoint coop (1), coops (2, TLS), owl (3)",
        "config:",
        "key default meaning",
        "needed required a list in brackets: [red]a[/], [b]",
        "flag true",
        "maybe none",
        "several none",
        "made {}",
        'wait "30s"',
        'size "64KiB"',
    ]
