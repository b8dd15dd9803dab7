"""Does what a person asks for in the console. Each action is the command that the bus has for it; each one is reported.

Whoever acts must know the token of the configuration. Wrong ones are limited, whoever sends them, so that the token
cannot be found by trying. What is refused is reported as well, at a limited rate.
"""

import hmac
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from bridge.core.errors import AuthError, BridgeError, InvalidError, NotSupportedError, ThrottledError
from bridge.core.log import structlog
from bridge.core.model import CONTROLS, Outcome
from bridge.core.payloads import ConsoleAction, Moved
from bridge.core.ports import Clock, Publisher
from bridge.core.rate_limited import RateLimited

#: Wrong tokens in so many seconds, of all viewers together; more are not looked at.
_MOST_WRONG: Final = 5
_WRONG_PERIOD: Final = 60.0
#: Refusals of one kind that are reported in a second, each by itself; the others are counted.
_BURST: Final = 5
#: Bytes of a token that are compared.
_MOST_TOKEN: Final = 4096
#: Characters of a label in a report of a refused action, which may be anything.
_MOST_LABEL: Final = 200

log = structlog.get_logger()

Do = Literal["pause", "resume", "drain", "circuit.force_open", "circuit.reset", "replay", "discard", "reload"]


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person asks for.

    Attributes:
        id: Named in the answer.
        do: The operation.
        integration: The integration's label. `reload` has none.
        ids: Of `replay` and `discard`: the `letter_id`s; if left out, all.
        dry_run: Of `reload`: only report what would change.
    """

    id: int
    do: Do
    integration: str | None = None
    ids: list[str] | None = None
    dry_run: bool = False


Execute = Callable[[str, dict[str, Any], Callable[[Outcome], None]], None]
"""Executes a command, given its type and payload, and calls back with its outcome."""
Answer = Callable[[Any, BridgeError | None], None]
"""Takes the result of an action, or its error."""


class Actions:
    """Checks, executes and reports the actions of all viewers."""

    def __init__(self, token: str | None, execute: Execute, publisher: Publisher, clock: Clock) -> None:
        """Create it.

        Args:
            token: What a viewer must know; None where actions are off.
            execute: Executes the command.
            publisher: For `resilience.bridge.console_action`.
            clock: For the limits.
        """
        self._token = None if token is None else token.encode()
        self._execute = execute
        self._publisher = publisher
        self._clock = clock
        self._wrong: deque[float] = deque(maxlen=_MOST_WRONG)
        self._refusals: RateLimited[tuple[str, str], tuple[Action, str, BridgeError]] = RateLimited(
            clock, lambda _, count, refused: self._report(*refused, count=count), burst=_BURST, max_keys=64
        )

    @property
    def are_on(self) -> bool:
        """Whether the configuration allows actions."""
        return self._token is not None

    def close(self) -> None:
        """Report what is held back."""
        self._refusals.flush()

    def perform(self, action: Action, token: str | None, by: str, answer: Answer) -> bool:
        """Do what a person asks for; return False where it is refused.

        Args:
            action: What is asked for.
            token: What the person gave as token.
            by: The address of the browser.
            answer: Called once with the result, or with the error; it may be called before this returns.
        """
        try:
            self._check_token(token)
            event_type, payload = _command(action)
        except BridgeError as error:
            self._refusals.add((error.kind, by.rpartition(":")[0]), (action, by, error))
            answer(None, error)
            return False

        def done(outcome: Outcome) -> None:
            self._report(action, by, outcome.error, outcome.result)
            answer(outcome.result, outcome.error)

        self._execute(event_type, payload, done)
        return True

    def _check_token(self, token: str | None) -> None:
        """Raise the reason where the token is not the right one."""
        if self._token is None:
            raise NotSupportedError(
                "the console may not act here: the configuration has no `bridge { console { actions = true … } }`"
            )
        now = self._clock.monotonic()
        if len(self._wrong) == _MOST_WRONG and now - self._wrong[0] < _WRONG_PERIOD:
            left = _WRONG_PERIOD - (now - self._wrong[0])
            message = f"{_MOST_WRONG} wrong tokens came within a minute; wait {left:.0f} s"
            raise ThrottledError(message, retry_after_ms=round(left * 1000))
        if token is None:
            raise AuthError("an action needs the token that the configuration has in `bridge { console { token } }`")
        given = token[:_MOST_TOKEN].encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._token):
            self._wrong.append(now)
            raise AuthError("the token is wrong")

    def _report(
        self, action: Action, by: str, error: BridgeError | None, result: Any = None, *, count: int = 1
    ) -> None:
        label = None if action.integration is None else action.integration[:_MOST_LABEL]
        event = ConsoleAction(
            action=action.do,
            integration=label,
            by=by,
            ok=error is None,
            error=None if error is None else error.to_wire(),
            dry_run=action.dry_run if action.do == "reload" else msgspec.UNSET,
            moved=result.moved if isinstance(result, Moved) else msgspec.UNSET,
            count=count,
        )
        self._publisher.publish_or_report("resilience.bridge.console_action", event)
        told = {"action": action.do, "integration": label, "by": by}
        more = {
            name: value
            for name, value in (("dry_run", event.dry_run), ("moved", event.moved))
            if value not in (msgspec.UNSET, False)
        }
        if error is None:
            log.info("console action", **told, **more)
        else:
            log.warning(
                "console action refused or failed", **told, **more, count=count, error=f"{error.kind}: {error.message}"
            )


def _command(action: Action) -> tuple[str, dict[str, Any]]:
    """Return the type and the payload of the command that an action is.

    Raises:
        InvalidError: The action names no integration, or what it names cannot be a label.
    """
    if action.do in CONTROLS:
        if not action.integration or "." in action.integration:
            raise InvalidError(f"{action.do}: `integration` must be the label of an integration")
        return f"integration.{action.integration}.{action.do}", {}
    if action.do == "reload":
        return "bridge.reload", {"dry_run": action.dry_run}
    payload: dict[str, Any] = {"integration": action.integration, "ids": action.ids}
    return f"bridge.{action.do}", {name: value for name, value in payload.items() if value is not None}
