"""What an event type and a pattern of event types may look like (bus contract, "Values on other wires")."""

from bridge.errors import InvalidError


def to_event_type(text: object) -> str:
    """An event type from a computed value: `/` becomes `.`.

    Raises:
        InvalidError: It is no string, is empty, or holds spaces, control characters or empty segments.
    """
    if not isinstance(text, str):
        raise InvalidError("an event type is a string")
    found = text.replace("/", ".")
    fault = _segments_fault(found)
    if fault:
        raise InvalidError(f"not an event type: {fault}")
    return found


def pattern_fault(pattern: str) -> str:
    """What is wrong with a pattern of a route's `on`; empty where nothing is.

    The rules are Nemo's: dot-separated segments, `*` for exactly one, `**` for zero or more, each as a whole segment.
    """
    fault = _segments_fault(pattern)
    if fault:
        return fault
    if any("*" in segment and segment not in {"*", "**"} for segment in pattern.split(".")):
        return "`*` and `**` stand for whole segments, as in `order.*` or `order.**`"
    return ""


def _segments_fault(text: str) -> str:
    if not text:
        return "it is empty"
    if any(letter.isspace() or not letter.isprintable() for letter in text):
        return "it holds spaces or control characters"
    if "" in text.split("."):
        return "it has an empty segment"
    return ""
