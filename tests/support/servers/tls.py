"""Make certificates for tests: good ones and each kind of bad one."""

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificates:
    """An authority that tests trust, one that nobody trusts, and where their files are."""

    trusted: trustme.CA
    unknown: trustme.CA
    folder: Path

    @property
    def ca_file(self) -> Path:
        """Return the trusted authority as a PEM file, for `tls.ca`."""
        path = self.folder / "ca.pem"
        self.trusted.cert_pem.write_to_path(path)
        return path

    def _issue(self, host: str, *, unknown_ca: bool, expired: bool) -> trustme.LeafCert:
        ended = dt.datetime(2020, 1, 1, tzinfo=dt.UTC) if expired else None
        started = dt.datetime(2019, 1, 1, tzinfo=dt.UTC) if expired else None
        authority = self.unknown if unknown_ca else self.trusted
        return authority.issue_cert(host, not_before=started, not_after=ended)

    def server(self, host: str = "127.0.0.1", *, unknown_ca: bool = False, expired: bool = False) -> ssl.SSLContext:
        """Make a server's context with a certificate for `host`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._issue(host, unknown_ca=unknown_ca, expired=expired).configure_cert(context)
        return context

    def server_files(
        self, host: str = "127.0.0.1", *, unknown_ca: bool = False, expired: bool = False
    ) -> tuple[Path, Path]:
        """Make a server's certificate for `host`; return it and its key as PEM files."""
        issued = self._issue(host, unknown_ca=unknown_ca, expired=expired)
        cert, key = self.folder / "server.pem", self.folder / "server.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return cert, key

    def server_that_asks(self, host: str = "127.0.0.1", *, tls13: bool = True) -> ssl.SSLContext:
        """Make a server's context that requires a client certificate of the trusted authority."""
        context = self.server(host)
        context.verify_mode = ssl.CERT_REQUIRED
        self.trusted.configure_trust(context)
        if not tls13:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context

    def client_files(self, *, unknown_ca: bool = False) -> tuple[Path, Path]:
        """Make a client certificate; return it and its key as PEM files."""
        issued = (self.unknown if unknown_ca else self.trusted).issue_cert("client@example.org")
        cert, key = self.folder / "client.pem", self.folder / "client.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return cert, key


def make_certificates(folder: Path) -> Certificates:
    """Make new authorities; their files are written to `folder`."""
    return Certificates(trustme.CA(), trustme.CA(), folder)
