"""Say what the end of a connection means.

Where a connection could not be opened, nothing was sent; after any other error the server may have acted.
"""

from bridge.adapters._common.errors import reason_of
from bridge.adapters._common.tls import refuses_client
from bridge.core.errors import AuthError, BridgeError, ConnectionLostError


def ended(when: str, cause: Exception | None) -> BridgeError:
    """Return the error of a request whose connection has ended.

    Args:
        when: What of the answer had come.
        cause: What ended it; with TLS 1.3 that may be a refused client certificate. None: the server has closed it.
    """
    if cause is not None and refuses_client(cause):
        words = f"the server refused the client certificate: {reason_of(cause)}"
        return AuthError(words, maybe_sent=False, permanent=True)
    why = f": {reason_of(cause)}" if isinstance(cause, OSError) else ""
    return ConnectionLostError(f"the connection ended {when}{why}")
