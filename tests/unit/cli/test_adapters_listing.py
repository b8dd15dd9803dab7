"""`nemo-bridge adapters`: each adapter in its own words, and one that is broken beside the others."""

import json
from typing import Annotated, Literal

import msgspec
import pytest
from pydantic import Field

from bridge.cli import adapters
from bridge.cli.exit_codes import ExitCode
from bridge.core.endpoint import Strict
from bridge.core.ports import AdapterBase, AdapterSetup, AdapterSpec
from bridge.core.printable import printable
from bridge.core.units import PositiveDuration, Rate, Size


class Nest(Strict):
    """A block inside."""

    height: Annotated[int, Field(description="metres")]
    wait: PositiveDuration = 0.25


class Config(Strict):
    """One key of each kind of default."""

    needed: Annotated[str, Field(description="a list in brackets: [red]a[/], [b]")]
    flag: bool = True
    maybe: str | None = None
    several: tuple[str, ...] = ()
    made: Annotated[dict[str, str], Field(default_factory=dict)]
    size: int = 7
    flight: PositiveDuration = 90.0
    load: Size = 2048
    speed: Rate | None = 0.5
    way: Literal["over", "under"] = "over"
    odd: complex | None = None
    nest: Nest | None = None


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


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two adapters are installed."""
    monkeypatch.setattr(adapters, "AdapterRegistry", Registry)
    monkeypatch.setenv("COLUMNS", "120")


LISTED = [
    "pigeon carrier pigeons [/bold], homing",
    "operations publish",
    "over owl also request",
    "auth bearer, none",
    "endpoint coop (1), coops (2, TLS), owl (3)",
    "config:",
    "key type default meaning",
    "needed text required a list in brackets: [red]a[/], [b]",
    "flag true or false true",
    "maybe text none",
    "several list of text none",
    "made map {}",
    "size whole number 7",
    'flight duration "90s"',
    'load size "2KiB"',
    'speed rate "30/m"',
    'way `"over"` or `"under"` "over"',
    "odd any value none",
    "nest block none",
    "nest.height whole number required metres",
    'nest.wait duration "250ms"',
]


def test_the_listing(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets in an author's text are no markup; what cannot be loaded does not hide the rest.

    Defaults are written as in a file.
    """
    assert adapters.show(None, as_json=False) == ExitCode.OK
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line]
    assert lines == ["broken cannot be loaded: no module [/nested]", *LISTED]


@pytest.mark.parametrize("width", ["120", "40"])
def test_what_an_author_wrote_does_nothing_to_the_terminal(
    width: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control characters in the texts of an adapter are shown as escapes, in each layout."""
    hostile = "\x1b[2J\u202e[red]"

    class Keys(Strict):
        odd: Annotated[str, Field(alias=f"key{hostile}", description=f"meaning{hostile}")] = f"default{hostile}"

    spec = msgspec.structs.replace(
        PIGEON,
        summary=hostile,
        config=Keys,
        schemes={f"coop{hostile}": (1, False)},
        operations=frozenset({f"operation{hostile}"}),
        auth=frozenset({f"auth{hostile}"}),
        transports=(msgspec.structs.replace(PIGEON.transports[0], schemes={f"owl{hostile}": (3, False)}),),
    )
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setattr(adapters, "AdapterRegistry", lambda: {f"name{hostile}": spec})
    assert adapters.show(None, as_json=False) == ExitCode.OK
    shown = capsys.readouterr().out
    assert printable(shown, keep="\n") == shown
    together = "".join(shown.split())
    for what in ("name", "operation", "auth", "coop", "owl", "key", "meaning"):
        assert f"{what}\\x1b[2J\\u202e[red]" in together, what


def test_one_adapter(capsys: pytest.CaptureFixture[str]) -> None:
    """Only the one that was asked for; one that cannot be loaded is a failure."""
    assert adapters.show("pigeon", as_json=False) == ExitCode.OK
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line] == LISTED
    assert adapters.show("broken", as_json=False) == ExitCode.FAILED


def test_a_narrow_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """There each key has lines of its own, and nothing is cut off."""
    monkeypatch.setenv("COLUMNS", "40")
    adapters.show("pigeon", as_json=False)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    at = lines.index("    needed  text; required")
    assert lines[at + 1] == "      a list in brackets: [red]a[/], [b]"
    assert '    nest.wait  duration; default:\n    "250ms"' in "\n".join(lines)
    assert not [line for line in lines if "…" in line or len(line) > 40]


@pytest.mark.parametrize(
    ("name", "hint"), [("pidgeon", "; did you mean 'pigeon'?"), ("mqtt", "; there are: broken, pigeon")]
)
def test_no_such_adapter(name: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the one that was meant, else all."""
    assert adapters.show(name, as_json=True) == ExitCode.INVALID
    assert capsys.readouterr() == ("", f"nemo-bridge: there is no adapter {name!r}{hint}\n")


def test_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """The same as data."""
    adapters.show(None, as_json=True)
    broken, pigeon = json.loads(capsys.readouterr().out)
    assert broken == {"type": "broken", "error": "no module [/nested]"}
    keys = {key.pop("key"): key for key in pigeon.pop("config")}
    assert pigeon == {
        "type": "pigeon",
        "summary": "carrier pigeons [/bold], homing",
        "operations": ["publish"],
        "auth": ["bearer", "none"],
        "endpoint": {
            "coop": {"port": 1, "tls": False, "operations": ["publish"]},
            "coops": {"port": 2, "tls": True, "operations": ["publish"]},
            "owl": {"port": 3, "tls": False, "operations": ["publish", "request"]},
        },
    }
    assert keys["flight"] == {"type": "duration", "required": False, "default": "90s", "description": ""}
    assert keys["nest.height"] == {"type": "whole number", "required": True, "default": None, "description": "metres"}
    assert keys["made"]["default"] == {}
