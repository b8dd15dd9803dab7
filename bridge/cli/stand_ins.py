"""Decide which remotes `nemo-bridge mock` can stand in for, and say so where such a remote is missing."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from bridge.config import Integration
from bridge.core.endpoint import ResolvedEndpoint
from bridge.core.log import structlog
from bridge.core.ports import Clock

#: The protocols that have stand-ins. A broker is more than its answers; run a real one.
PROTOCOLS: Final = frozenset({"json-rpc", "http"})
#: Seconds that `nemo-bridge run` gives a remote at the start, before it names the stand-in.
PATIENCE: Final = 1.0

log = structlog.get_logger(__name__)


def server_of(integration: Integration) -> ResolvedEndpoint | None:
    """Return where the remote of an integration is; None where its protocol has no stand-ins."""
    if integration.type not in PROTOCOLS:
        return None
    found = integration.spec.resolve(integration.endpoint, integration.auth, integration.tls, integration.config)
    return found[0] if found else None


def can_stand_in(server: ResolvedEndpoint) -> bool:
    """Return whether a stand-in can listen where a remote is: on this machine, and without TLS."""
    return server.loopback and not server.tls


async def hint(
    integrations: Iterable[Integration], status: Callable[[], Mapping[str, Any]], command: str, clock: Clock
) -> None:
    """Log once how to try the configuration without those remotes on this machine that are not there at the start.

    Args:
        integrations: Those of the configuration.
        status: Returns the health of each integration by its label.
        command: The command that stands in.
        clock: Waits for the remotes.
    """
    candidates = [one.id for one in integrations if (server := server_of(one)) is not None and can_stand_in(server)]
    if not candidates:
        return
    await clock.sleep(PATIENCE)
    health = status()
    for name in candidates:
        found = health.get(name)
        if found is not None and found.error is not None and found.error.kind == "not_connected":
            log.info("without the remote, try its stand-in", integration=name, command=command)
