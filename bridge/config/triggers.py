"""Find patterns in a route's `on` that nothing can set off, and conditions that are never true or false."""

from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec

from bridge.config.diagnostics import did_you_mean, one_of
from bridge.config.expressions import kind_of
from bridge.config.kinds import BOOLEAN, kinds, named
from bridge.config.syntax import Block, Constant, Template, Term
from bridge.core.filters import overlap
from bridge.core.model import CONTROLS, OPERATIONS
from bridge.core.wildcards import EVENT_TYPES, translated

#: What the guard reports of an integration, after `resilience.<id>.`; a test compares it with the bus contract.
_RESILIENCE: Final = (
    *("retry", "failed", "circuit.opened", "circuit.half_opened", "circuit.closed"),
    *("shed", "degraded", "given_up", "dead_letter"),
)
#: Families of event types whose second segment is the label of an integration, and what may follow it.
REPORTS: Final = {
    "health": ("",),
    "resilience": _RESILIENCE,
    "receipt": ("delivered", "dead_lettered", "expired"),
    "message": ("",),
}
#: What stands in the place of the label, and what may follow that.
OF_THE_BRIDGE: Final = {
    ("health", "bridge"): ("",),
    ("resilience", "bus"): ("rejected", "gap"),
    ("resilience", "bridge"): ("outbox_loss", "console_action"),
}
#: What a fabric reports of itself and of its nodes, after `<family>.<second segment>.<label>`.
OF_FABRICS: Final = {
    ("health", "fabric"): ("",),
    ("health", "node"): ("",),
    ("resilience", "fabric"): ("missed", "rejected", "lease"),
}
_COMMANDS: Final = (*OPERATIONS, *CONTROLS)
_MESSAGES: Final = "message."
#: The longest expression that a hint repeats.
_LONGEST: Final = 60
_WILDCARDS: Final = frozenset({"*", "**"})
_EXAMPLE: Final = "write a condition, as in `event.payload.total > 100`"


class Emitted(msgspec.Struct, frozen=True):
    """What is on the bus beside what applications say.

    Attributes:
        stop_with: The event that stops the bridge, if any does.
        messages: The types below `message.` that routes and subscriptions emit; None where it may be any of them.
        fabrics: The labels of all fabrics.
        imports: The patterns of what comes onto the bus from other bridges of fabrics.
    """

    stop_with: str | None = None
    messages: frozenset[str] | None = frozenset()
    fabrics: Collection[str] = ()
    imports: Collection[str] = ()


def foreign_pattern(pattern: str) -> str | None:
    """Return the pattern of event types that was meant by one of MQTT or NATS; None where it is none of these."""
    return translated(pattern, EVENT_TYPES)


def pattern_hint(pattern: str) -> str:
    """Return what a pattern that is not valid could be; empty where that cannot be told."""
    if pattern.endswith(".") and pattern.strip("."):
        return f"write `{pattern.rstrip('.')}.**`"
    stem = pattern.rstrip("*")
    if stem != pattern and stem and "*" not in stem and not stem.endswith("."):
        return f"write `{stem}.*` for one more segment, or `{stem}.**` for any number of them"
    return ""


def own_messages(blocks: Iterable[Block]) -> frozenset[str] | None:
    """Return the types below `message.` that routes and subscriptions emit; None where it may be any of them."""
    found: set[str] = set()
    for term in (one.term for block in blocks for one in block.attributes if one.name == "emit"):
        match term:
            case Constant(value=str(text)):
                start = text
            case Template(parts=(str(start), *_)) if not start.replace("/", ".").startswith(_MESSAGES):
                if not _MESSAGES.startswith(start):
                    continue
                return None
            case _:
                return None
        found.add(start.replace("/", "."))
    return frozenset(one for one in found if one.startswith(_MESSAGES))


def nothing_sets_off(pattern: str, integrations: Collection[str], emitted: Emitted) -> tuple[str, str] | None:
    """Return why no event that matches a pattern of `on` sets off a route, with a hint; None where one may.

    Args:
        pattern: The pattern, which is a valid one.
        integrations: The labels of all integrations.
        emitted: What else is on the bus.
    """
    head, *rest = pattern.split(".")
    if head in {"integration", "bridge"} and rest:
        return f"what begins with `{head}.` is a command, and sets off no route", ""
    if pattern == emitted.stop_with:
        return "this event stops the bridge, and sets off no route", ""
    if "/" in pattern:
        return "event types have dots, not slashes", f"write `{pattern.replace('/', '.')}`"
    if head == "response" and rest[:1] == ["integration"] and rest[1:] not in ([], ["**"]):
        return _no_such_label(rest[1], integrations, pattern) or _no_such_end(rest[2:], _COMMANDS, pattern)
    if head not in REPORTS or not rest or rest[0] == "**":
        return None
    if head == "message" and (
        emitted.messages is None or any(_meet(pattern, one) for one in (*emitted.messages, *emitted.imports))
    ):
        return None
    if (head, rest[0]) in OF_FABRICS and rest[0] not in integrations:
        return _of_no_fabric(head, rest, pattern, emitted.fabrics)
    if (head, rest[0]) in OF_THE_BRIDGE:
        return _no_such_end(rest[1:], OF_THE_BRIDGE[head, rest[0]], pattern)
    ends = REPORTS[head]
    if rest[0] == "*" and len(rest) > 1:
        more = [end for (family, _), found in OF_FABRICS.items() if family == head and emitted.fabrics for end in found]
        if any(_meet(".".join(rest[2:]), end) for end in more):
            return None
    if rest[0] == "*":
        ends += tuple(end for (family, _), more in OF_THE_BRIDGE.items() if family == head for end in more)
    return _no_such_label(rest[0], integrations, pattern) or _no_such_end(rest[1:], ends, pattern)


def _of_no_fabric(head: str, rest: list[str], pattern: str, fabrics: Collection[str]) -> tuple[str, str] | None:
    """Return why no fabric reports what matches a pattern such as `health.fabric.plant`; None where one may."""
    kind, *below = rest
    if not fabrics:
        return f"there is no fabric, so this bridge emits nothing that matches `{pattern}`", ""
    if below[:1] == ["**"]:
        return None
    if not below:
        return f"the bridge emits nothing that matches `{pattern}`", f"write `{pattern}.*`"
    if kind == "fabric" and below[0] not in {*fabrics, *_WILDCARDS}:
        message = f"there is no fabric `{below[0]}`, so this bridge emits nothing that matches `{pattern}`"
        return message, did_you_mean(below[0], fabrics)
    return _no_such_end(below[1:], OF_FABRICS[head, kind], pattern)


def _no_such_label(label: str, integrations: Collection[str], pattern: str) -> tuple[str, str] | None:
    if label in _WILDCARDS or label in integrations:
        return None
    message = f"there is no integration `{label}`, so this bridge emits nothing that matches `{pattern}`"
    return message, did_you_mean(label, integrations)


def _no_such_end(end: list[str], ends: Collection[str], pattern: str) -> tuple[str, str] | None:
    """Return that no type ends like the pattern, where what is before that is right."""
    written = ".".join(end)
    if any(_meet(written, one) for one in ends):
        return None
    known = [one for one in ends if one]
    if not known:
        hint = f"write `{pattern.removesuffix(f'.{written}')}`"
    else:
        hint = did_you_mean(written, known) or f"there are {one_of(known)}"
    return f"the bridge emits nothing that matches `{pattern}`", hint


def _meet(one: str, other: str) -> bool:
    return overlap(*(tuple(filter(None, text.split("."))) for text in (one, other)))


def condition_fault(term: Term, value: Any = ...) -> tuple[str, str] | None:
    """Return why a term is no condition, with a hint; None where it may be true or false.

    Args:
        term: The term.
        value: Its value, where that is known.
    """
    found = kinds(term) if value is ... else frozenset({kind_of(value)})
    if not found.isdisjoint(BOOLEAN):
        return None
    text = term.text if len(term.text) <= _LONGEST else "…"
    match sorted(found):
        case ["a number"]:
            hint = f"compare it, as in `{text} > 0`"
        case ["a string"] if isinstance(term, Constant):
            hint = _without_quotes(str(value))
        case ["a string"] | ["a string", "null"]:
            hint = f'compare it, as in `{text} == "…"`'
        case ["null"]:
            hint = "leave it out where every event counts"
        case _:
            hint = _EXAMPLE
    return f"must be true or false, not {named(found)}", hint


def _without_quotes(text: str) -> str:
    """Return a hint for a string where a condition must be; it repeats nothing of a string from elsewhere."""
    if text.strip().lower() in {"true", "false"}:
        return f"write `{text.strip().lower()}`, without quotes"
    if any(root in text for root in ("event.", "has(")):
        return "write the expression without quotes"
    return _EXAMPLE
