"""The table from the operating system's error numbers for files to the bridge's errors."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bridge.core.errors import BridgeError, InvalidError, OverloadedError, RejectedError, UnavailableError
from bridge.core.files import TornWriteError

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
    """Return the bridge's error for one of the operating system's; its message names `path`, as the command gave it."""
    kind, code = _TABLE.get(error.errno or 0, (UnavailableError, None))
    return kind(f"{path[:200]}: {error.strerror or type(error).__name__}", code=code)


@contextmanager
def translated(path: str, *, maybe_sent: bool | None = None) -> Iterator[None]:
    """Translate an OSError that the body raises to the bridge's error.

    Args:
        path: As for `translate`.
        maybe_sent: Whether the body may have changed something before; None: as the error's type has it. A
            TornWriteError always has.
    """
    try:
        yield
    except OSError as error:
        failure = translate(error, path)
        if maybe_sent is not None:
            failure.maybe_sent = maybe_sent or isinstance(error, TornWriteError)
        raise failure from None
