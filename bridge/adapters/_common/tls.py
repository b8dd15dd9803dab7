"""Make TLS contexts from the `tls` and `auth` blocks, and recognise a refused client certificate."""

import ssl
import stat
from pathlib import Path
from typing import Final

from bridge.core.endpoint import AuthCertificate, Tls
from bridge.core.errors import NotConnectedError
from bridge.core.files import identity

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

#: The largest file of certificates or keys, in bytes; a system's list of authorities has about 200,000.
_MOST_BYTES: Final = 16 * 1024 * 1024

#: Seconds that a TLS handshake may take; a server without TLS may wait in silence for the rest of a command.
HANDSHAKE_TIMEOUT: Final = 5.0


def refuses_client(error: BaseException | None) -> bool:
    """Return whether an error means that the server refuses the client's certificate, or requires one."""
    if not isinstance(error, ssl.SSLError):
        return False
    reason = getattr(error, "reason", None) or ""  # OpenSSL sets it, nobody else
    return any(alert in reason for alert in _CLIENT_REFUSED)


class ClientTls:
    """Gives the TLS context for each new connection. It reads the files again when one of them has changed.

    So a certificate that was renewed on disk is in use for the next connection, and making many connections costs only
    a look at the files.
    """

    def __init__(self, tls: Tls, auth: object, *, alpn: str | None = None) -> None:
        """Read the files.

        Args:
            tls: Whom to trust. Without a `ca` these are the authorities of the system.
            auth: Has the client certificate, if it is `AuthCertificate`.
            alpn: The application's protocol to agree on (RFC 7301); None for none.

        Raises:
            ValueError: A file cannot be used; the message is in words for a person.
        """
        self._tls = tls
        self._auth = auth
        self._alpn = alpn
        self._files = self._look()
        self.latest = self._make()
        """The context that was made last."""

    def context(self) -> ssl.SSLContext:
        """Return the context for a connection that is opened now.

        Raises:
            NotConnectedError: A file has changed and cannot be used; with `permanent`.
        """
        try:
            files = self._look()
            if files != self._files:
                # Noted after reading. So half a file is read again, and one that changes meanwhile, too.
                self.latest, self._files = self._make(), files
        except ValueError as error:
            raise NotConnectedError(str(error), permanent=True) from None
        return self.latest

    def _look(self) -> list[object]:
        """Return what changes when a file is written or replaced: see `core.files.identity`."""
        trusted = self._tls.ca
        if trusted is None:
            system = ssl.get_default_verify_paths()
            found = [_identity(path) for path in (system.cafile, system.capath)]
        else:
            found = [_file(trusted, _bad_authorities(trusted))]
        if isinstance(self._auth, AuthCertificate):
            cert, key = self._auth.cert, self._auth.key
            found += [_file(path, _bad_certificate(cert)) for path in (cert, key) if path is not None]
        return found

    def _make(self) -> ssl.SSLContext:
        """Make a context that verifies, unless `tls.verify` is false, and has the client certificate, if any."""
        tls, auth = self._tls, self._auth
        try:
            context = ssl.create_default_context(cafile=None if tls.ca is None else str(tls.ca))
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"{_bad_authorities(tls.ca)}: {error}") from None
        if not tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if isinstance(auth, AuthCertificate):
            try:
                # Without a password function OpenSSL would ask for one on the terminal.
                context.load_cert_chain(auth.cert, auth.key, password=lambda: "")
            except (OSError, ssl.SSLError) as error:
                raise ValueError(f"{_bad_certificate(auth.cert)}: {error}") from None
        if self._alpn is not None:
            context.set_alpn_protocols([self._alpn])
        return context


def _identity(path: str | None) -> object:
    """Return what identifies a file of the system and its content; None where it is not there."""
    if path is None:
        return None
    try:
        found = Path(path).stat()  # a link is followed: its target is what changes, as in Kubernetes
    except OSError:
        return None
    return identity(found)


def _bad_authorities(path: Path | None) -> str:
    return f"tls.ca: {path} cannot be read as PEM certificates"


def _bad_certificate(path: Path) -> str:
    return f"auth: {path} and its key cannot be used as a client certificate"


def _file(path: Path, complaint: str) -> object:
    """Return the same of a file that the configuration names. Raises ValueError where it cannot be read as one."""
    try:
        found = path.stat()
    except OSError as error:
        raise ValueError(f"{complaint}: {error}") from None
    if not stat.S_ISREG(found.st_mode):  # reading a pipe would never end
        raise ValueError(f"{complaint}: {path} is not a regular file")
    if found.st_size > _MOST_BYTES:
        raise ValueError(f"{complaint}: {path} has more than {_MOST_BYTES} bytes")
    return identity(found)
