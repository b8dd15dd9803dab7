"""The servers of one NATS integration, in the order in which they are tried: the configured and the discovered ones.

A server tells of the other servers of its cluster. They are remembered for the next sessions, so that an integration
comes back where the configured server is gone for good.
"""

import ipaddress
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from bridge.core.endpoint import Address, ResolvedEndpoint

#: Discovered servers that are remembered at most; a server may send a line of 64 KiB full of them.
_MOST: Final = 64
_DISCOVERED: Final = "discovered"
_FAILED: Final = "failed"


class Candidate(NamedTuple):
    """A server to try.

    Attributes:
        server: Where it is.
        server_name: The name that its certificate must carry; None for its host.
    """

    server: ResolvedEndpoint
    server_name: str | None


class Servers:
    """Remember the servers of one integration in its session state."""

    def __init__(
        self, configured: Sequence[ResolvedEndpoint], server_name: str | None, session_state: dict[str, Any]
    ) -> None:
        """Begin with what earlier sessions have left.

        Args:
            configured: Those of the configuration, in their order.
            server_name: `tls.server_name` of the configuration.
            session_state: What sessions leave for the next ones.
        """
        self._configured = tuple(configured)
        self._server_name = server_name
        self._discovered: list[ResolvedEndpoint] = session_state.setdefault(_DISCOVERED, [])
        # Names of servers whose last try failed, the one that failed longest ago first.
        self._failed: dict[str, None] = session_state.setdefault(_FAILED, {})

    def in_order(self) -> list[Candidate]:
        """Return all servers: the configured before the discovered ones, and last those that have failed."""
        servers = {server.name: server for server in (*self._discovered, *self._configured)}
        names = dict.fromkeys(server.name for server in (*self._configured, *self._discovered))
        for name in [name for name in self._failed if name not in names]:
            del self._failed[name]
        good = [name for name in names if name not in self._failed]
        return [Candidate(servers[name], self._name_of(servers[name])) for name in (*good, *self._failed)]

    def _name_of(self, server: ResolvedEndpoint) -> str | None:
        """Return the name that a server's certificate must carry; None for its host.

        A cluster names its servers by their addresses, for which certificates are rarely made. Then the name is that of
        the configured server, as in other clients of NATS.
        """
        if self._server_name is not None or server in self._configured or not _is_ip(server.host):
            return self._server_name
        return self._configured[0].host

    def trying(self, server: ResolvedEndpoint) -> None:
        """Note that a try begins. Unless `works` follows, even if the try is given up, it counts as failed."""
        self.avoid(server)

    def works(self, server: ResolvedEndpoint) -> None:
        """Note that a try has succeeded."""
        self._failed.pop(server.name, None)

    def avoid(self, server: ResolvedEndpoint) -> None:
        """Try a server after all others from now on."""
        self._failed.pop(server.name, None)
        self._failed[server.name] = None

    def learn(self, addresses: Sequence[str]) -> None:
        """Remember the servers of the cluster in place of those that were discovered before.

        Without TLS, one beyond this machine is left out where all configured ones are on this machine: nobody has
        allowed to send anything over a network in the clear.

        Args:
            addresses: Each is `host:port`; others are left out.
        """
        first = self._configured[0]
        only_here = not first.tls and all(server.loopback for server in self._configured)
        configured = {server.name for server in self._configured}
        found: dict[str, ResolvedEndpoint] = {}
        for text in addresses:
            try:
                address = Address.parse(text)
                server = first.at(address.host, address.port or 0)
            except ValueError:
                continue
            if len(found) < _MOST and server.name not in configured and (server.loopback or not only_here):
                found[server.name] = server
        if addresses:
            self._discovered[:] = found.values()


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
