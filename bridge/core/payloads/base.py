"""The base class of payloads."""

from typing import Annotated

import msgspec
from msgspec import Meta

Milliseconds = Annotated[float, Meta(ge=0)]


class Payload(msgspec.Struct, frozen=True):
    """A payload that the bridge emits, or an object within one.

    An attribute that is `UNSET` is left out. The docstrings of the subclasses are part of the bus contract: `schemas/`
    has the text before `Attributes:` as the description of an object, and each attribute's text as that of a property.
    """
