"""The settings in the `config { … }` block of a file integration."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from bridge.adapters._common.content import CodecName
from bridge.core.endpoint import Strict
from bridge.core.units import PositiveDuration, Size


class FileConfig(Strict):
    """`config { … }` of a file integration."""

    root: Annotated[Path, Field(description="the directory; nothing outside of it is read or written")]
    codec: Annotated[CodecName, Field(description="how contents become messages and back")] = "auto"
    interval: Annotated[
        Annotated[PositiveDuration, Field(ge=0.01)],
        Field(description="time between two looks for changes, 10 ms or more"),
    ] = 1.0
    append: Annotated[
        bool,
        Field(
            description="`publish` appends the message to the file, as a line where it is text, instead of replacing "
            'the file; the header `append` ("true" or "false") of a command goes before it'
        ),
    ] = False
    max_size: Annotated[Size, Field(description="the largest file that `read` takes")] = 16 * 1024 * 1024
    max_line: Annotated[
        Annotated[Size, Field(ge=4)],
        Field(
            description="a longer line comes in pieces, none of which ends within a character; the headers `piece` (1, "
            '2, …) and `last_piece` ("true" or "false") tell; 4 bytes or more'
        ),
    ] = 256 * 1024
