"""The settings in the `config { … }` block of a file integration."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from bridge.adapters._common.content import CodecName
from bridge.core.endpoint import Strict
from bridge.core.units import PositiveDuration, Size


class FileConfig(Strict):
    """`config { … }` of a file integration."""

    root: Annotated[Path, Field(description="The directory. Nothing outside of it is read or written.")]
    codec: Annotated[
        CodecName,
        Field(
            description="How contents become messages and back. `auto` writes text as text and all else as JSON, "
            "and reads JSON, else UTF-8 text, else bytes."
        ),
    ] = "auto"
    interval: Annotated[
        Annotated[PositiveDuration, Field(ge=0.01)],
        Field(
            description="The time between two looks for changes, and between two checks of the directory; 10 ms or "
            "more."
        ),
    ] = 1.0
    append: Annotated[
        bool,
        Field(
            description="Whether `publish` appends the message to the file, as a line where it is text, instead of "
            'replacing the file. The header `append` of a command ("true" or "false") overrides it.'
        ),
    ] = False
    max_size: Annotated[
        Size, Field(description="The largest file that `read` takes, in bytes. A larger one is an error.")
    ] = 16 * 1024 * 1024
    max_line: Annotated[
        Annotated[Size, Field(ge=4)],
        Field(
            description="The longest line that comes as one message, in bytes, 4 or more. A longer one comes in "
            'pieces, which have the headers `piece` (1, 2, …) and `last_piece` ("true" or "false").'
        ),
    ] = 256 * 1024
