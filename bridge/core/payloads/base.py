"""What all payloads have in common."""

from typing import Annotated

import msgspec
from msgspec import Meta

Milliseconds = Annotated[float, Meta(ge=0)]


class Payload(msgspec.Struct, frozen=True):
    """A payload that the bridge emits, or an object within one.

    What is `UNSET` is left out. The docstrings of the subclasses are part of the bus contract: `schemas/` quotes them,
    an object's text before its `Attributes:` and each attribute's as the description of that property.
    """
