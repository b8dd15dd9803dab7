"""What the operating system says about files → our errors."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bridge.core.errors import BridgeError, InvalidError, OverloadedError, RejectedError, UnavailableError

#: errno → (our error, its code). What is not named here is *unavailable*: a full or failing disk, a server gone stale.
_TABLE: Final[dict[int, tuple[type[BridgeError], str | None]]] = {
    errno.ENOENT: (RejectedError, "not_found"),
    errno.EEXIST: (RejectedError, "exists"),
    errno.EISDIR: (RejectedError, "not_a_file"),
    errno.ENXIO: (RejectedError, "not_a_file"),  # a pipe or socket that nobody reads
    errno.ENOTDIR: (RejectedError, "not_a_directory"),
    errno.ELOOP: (RejectedError, "link"),
    errno.EACCES: (RejectedError, "permission"),
    errno.EPERM: (RejectedError, "permission"),
    errno.EROFS: (RejectedError, "permission"),
    errno.ETXTBSY: (RejectedError, "permission"),
    errno.EFBIG: (RejectedError, "too_large"),
    errno.ENAMETOOLONG: (InvalidError, None),
    errno.EINVAL: (InvalidError, None),
    errno.EILSEQ: (InvalidError, None),
    errno.EMFILE: (OverloadedError, None),
    errno.ENFILE: (OverloadedError, None),
}


def translate(error: OSError, path: str) -> BridgeError:
    """Our error; its message names the path as it was asked for."""
    kind, code = _TABLE.get(error.errno or 0, (UnavailableError, None))
    return kind(f"{path[:200]}: {error.strerror or type(error).__name__}", code=code)


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Raise what goes wrong inside as our error."""
    try:
        yield
    except OSError as error:
        raise translate(error, path) from None
