"""The TLS context of protocols that are not HTTP, from the `tls` and `auth` blocks."""

import ssl

from bridge.endpoint import AuthCertificate, Tls


def client_context(tls: Tls, auth: object) -> ssl.SSLContext:
    """A context that verifies, unless `tls.verify` is false, and has the client certificate of `auth`, if any.

    Raises:
        ValueError: A file does not serve, in words for a person.
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
            raise ValueError(f"auth: {auth.cert} and its key do not serve as a client certificate: {error}") from None
    return context
