"""Show who may act in the console, that wrong tokens are limited, and that each action is reported."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from bridge.core.errors import BridgeError, UnknownIntegrationError
from bridge.core.model import Outcome
from bridge.core.payloads import ConsoleAction, Moved, Nothing
from bridge.observe.actions import Action, Actions
from tests.support.clock import FakeClock

TOKEN = "correct-horse-battery"


class Bridge:
    """What executes and reports: collects both."""

    def __init__(self, token: str | None = TOKEN) -> None:
        self.clock = FakeClock()
        self.events: list[ConsoleAction] = []
        self.executed: list[tuple[str, dict[str, Any]]] = []
        self.outcome: Outcome | None = Outcome(result=Nothing())
        self.waiting: Callable[[Outcome], None] | None = None
        self.answers: list[tuple[Any, BridgeError | None]] = []
        self.actions = Actions(token, self.execute, self, self.clock)  # type: ignore[arg-type]

    def execute(self, event_type: str, payload: dict[str, Any], done: Callable[[Outcome], None]) -> None:
        self.executed.append((event_type, payload))
        if self.outcome is None:
            self.waiting = done
        else:
            done(self.outcome)

    def publish_or_report(self, event_type: str, payload: ConsoleAction) -> None:
        assert event_type == "resilience.bridge.console_action"
        self.events.append(payload)

    def ask(self, do: str, token: str | None = TOKEN, **more: Any) -> BridgeError | None:
        """Ask for an action; return its error."""
        action = msgspec.convert({"id": 1, "do": do} | more, Action)
        before = len(self.answers)
        taken = self.actions.perform(action, token, "127.0.0.1:5000", lambda *answer: self.answers.append(answer))
        if len(self.answers) == before:
            return None
        error = self.answers[-1][1]
        assert taken is (error is None or isinstance(error, UnknownIntegrationError))
        return error


@pytest.mark.parametrize(
    ("asked", "command"),
    [
        ({"do": "pause", "integration": "shop"}, ("integration.shop.pause", {})),
        ({"do": "circuit.reset", "integration": "shop"}, ("integration.shop.circuit.reset", {})),
        ({"do": "replay"}, ("bridge.replay", {})),
        (
            {"do": "discard", "integration": "shop", "ids": ["7"]},
            ("bridge.discard", {"integration": "shop", "ids": ["7"]}),
        ),
        ({"do": "reload", "dry_run": True}, ("bridge.reload", {"dry_run": True})),
        ({"do": "reload"}, ("bridge.reload", {"dry_run": False})),
    ],
)
async def test_an_action_is_a_command(asked, command):
    """It is executed as the bus' command, answered, and reported with who asked."""
    bridge = Bridge()
    assert bridge.ask(**asked) is None
    assert bridge.executed == [command]
    assert bridge.answers == [(Nothing(), None)]
    (event,) = bridge.events
    assert (event.action, event.integration, event.by) == (asked["do"], asked.get("integration"), "127.0.0.1:5000")
    assert (event.ok, event.error, event.count) == (True, None, 1)


async def test_how_many_letters_were_moved():
    """The report of a replay has the number, that of a reload whether it was a dry run."""
    bridge = Bridge()
    bridge.outcome = Outcome(result=Moved(moved=3))
    bridge.ask("replay")
    bridge.ask("reload", dry_run=True)
    assert [(event.moved, event.dry_run) for event in bridge.events] == [(3, msgspec.UNSET), (3, True)]


async def test_what_fails_is_reported():
    """An action that the bridge cannot do is answered and reported with the reason."""
    bridge = Bridge()
    bridge.outcome = Outcome(error=UnknownIntegrationError("there is no integration 'shp'; did you mean 'shop'?"))
    assert bridge.ask("pause", integration="shp").kind == "unknown_integration"
    assert (bridge.events[0].ok, bridge.events[0].error.kind) == (False, "unknown_integration")


async def test_what_takes_long_is_reported_at_its_end():
    """Nothing is said before it is done, also where the viewer has gone meanwhile."""
    bridge = Bridge()
    bridge.outcome = None
    bridge.ask("drain", integration="shop")
    assert (bridge.answers, bridge.events) == ([], [])
    bridge.waiting(Outcome(result=Nothing()))
    assert len(bridge.answers) == len(bridge.events) == 1


@pytest.mark.parametrize("label", [None, "", "shop.request", "shop.circuit"])
async def test_a_control_needs_a_label(label):
    """What is no label is refused before anything is done."""
    bridge = Bridge()
    assert bridge.ask("pause", integration=label).kind == "invalid"
    assert (bridge.executed, bridge.events[0].ok) == ([], False)


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", "x" * 100_000, "\ud800"])
async def test_only_with_the_token(token):
    """Any other one is refused with `auth`, and that is reported."""
    bridge = Bridge()
    assert bridge.ask("pause", token, integration="shop").kind == "auth"
    assert bridge.executed == []
    assert [event.error.kind for event in bridge.events] == ["auth"]


async def test_actions_are_off_by_default():
    """Without a token in the configuration every action is refused, with how they are turned on."""
    bridge = Bridge(None)
    assert not bridge.actions.are_on
    error = bridge.ask("pause", TOKEN, integration="shop")
    assert error.kind == "not_supported"
    assert "console { actions = true" in error.message


async def test_a_token_cannot_be_found_by_trying():
    """After five wrong ones also the right one is refused, until the first wrong one is a minute old."""
    bridge = Bridge()
    for number in range(5):
        assert bridge.ask("pause", f"wrong-{number}", integration="shop").kind == "auth"
        await bridge.clock.advance(2)
    refused = bridge.ask("pause", integration="shop")
    assert (refused.kind, refused.retry_after_ms) == ("throttled", 50_000)
    await bridge.clock.advance(50)
    assert bridge.ask("pause", integration="shop") is None
    assert bridge.ask("pause", "wrong", integration="shop").kind == "auth"
    assert bridge.ask("pause", integration="shop").kind == "throttled"


async def test_no_token_is_no_guess():
    """Who has given no token has tried none."""
    bridge = Bridge()
    for _ in range(20):
        assert bridge.ask("pause", None, integration="shop").kind == "auth"
    assert bridge.ask("pause", integration="shop") is None


async def test_a_flood_of_refused_actions_is_counted():
    """Each of the first ones is reported, the others together; none is left out at the end."""
    bridge = Bridge()
    for _ in range(100):
        bridge.ask("pause", None, integration="shop")
    assert len(bridge.events) == 5
    await bridge.clock.advance(1)
    assert [event.count for event in bridge.events] == [1] * 5 + [95]
    bridge.ask("pause", None, integration="shop")
    bridge.actions.close()
    assert sum(event.count for event in bridge.events) == 101
