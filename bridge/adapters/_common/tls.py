"""Make TLS contexts from the `tls` and `auth` blocks, and recognise a refused client certificate."""

import ssl
from typing import Final

from bridge.core.endpoint import AuthCertificate, Tls

#: Alerts by which a server refuses a client's certificate (RFC 8446, 6.2). With TLS 1.3 they come after the
#: handshake, in place of the first answer.
_CLIENT_REFUSED: Final = (
    "CERTIFICATE_REQUIRED",
    "BAD_CERTIFICATE",
    "UNKNOWN_CA",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_UNKNOWN",
    "UNSUPPORTED_CERTIFICATE",
    "ACCESS_DENIED",
)


#: Seconds that a TLS handshake may take; a server without TLS may wait in silence for the rest of a command.
HANDSHAKE_TIMEOUT: Final = 5.0


def refuses_client(error: BaseException | None) -> bool:
    """Return whether an error means that the server refuses the client's certificate, or requires one."""
    if not isinstance(error, ssl.SSLError):
        return False
    reason = getattr(error, "reason", None) or ""  # OpenSSL sets it, nobody else
    return any(alert in reason for alert in _CLIENT_REFUSED)


def client_context(tls: Tls, auth: object) -> ssl.SSLContext:
    """Make a context that verifies, unless `tls.verify` is false, and has the client certificate of `auth`, if any.

    Raises:
        ValueError: A file cannot be used; the message is in words for a person.
    """
    try:
        context = ssl.create_default_context(cafile=None if tls.ca is None else str(tls.ca))
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"tls.ca: {tls.ca} cannot be read as PEM certificates: {error}") from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if isinstance(auth, AuthCertificate):
        try:
            # Without a password function OpenSSL would ask for one on the terminal.
            context.load_cert_chain(auth.cert, auth.key, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"auth: {auth.cert} and its key cannot be used as a client certificate: {error}") from None
    return context
