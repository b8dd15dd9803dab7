"""Write keys for a closed bus as certificates, by pyzmq's own functions."""

from pathlib import Path

import zmq
import zmq.auth

from bridge.bus import CurveServer
from bridge.core.curve_keys import fingerprint, read_pair
from tests.support.bus.bus import CurveKeys


class KeyRing:
    """A server key and a folder of listed keys, in a directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        self.directory = directory
        self.authorized = directory / "authorized"
        self.authorized.mkdir(mode=0o700)
        self.secret_key = self._certificate("bridge")
        self.server = read_pair(self.secret_key)

    @property
    def curve(self) -> CurveServer:
        """Return the keys with which a bus is hosted."""
        return CurveServer(self.server, self.authorized)

    def new(self, name: str) -> CurveKeys:
        """Make a client's keys that are not listed."""
        public, secret = zmq.auth.load_certificate(self._certificate(name))
        assert secret is not None
        return public, secret, self.server.public.encode()

    def listed(self, name: str, publish: str = "**", subscribe: str = "**", role: str = "") -> CurveKeys:
        """Make a client's keys and list them with these rights."""
        keys = self.new(name)
        self.list(name, keys, publish, subscribe, role)
        return keys

    def list(self, name: str, keys: CurveKeys, publish: str = "**", subscribe: str = "**", role: str = "") -> None:
        """Put a key on the access list."""
        text = f'metadata\n    publish = "{publish}"\n    subscribe = "{subscribe}"\n    role = "{role}"\n'
        path = self.authorized / f"{name}.key"
        path.write_text(f'{text}curve\n    public-key = "{keys[0].decode()}"\n')
        path.chmod(0o600)

    def strike(self, name: str) -> None:
        """Remove a key from the access list."""
        (self.authorized / f"{name}.key").unlink()

    def _certificate(self, name: str) -> Path:
        secret = Path(zmq.auth.create_certificates(self.directory, name)[1])
        secret.chmod(0o600)
        return secret


def print_of(keys: CurveKeys) -> str:
    """Return a key's fingerprint."""
    return fingerprint(keys[0].decode())
