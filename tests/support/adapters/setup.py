"""What adapters in tests are made from."""

import random
from typing import Any

from bridge.core.clock import RealClock
from bridge.core.endpoint import NO_AUTH, AnyAuth, Endpoint, Tls
from bridge.core.ports import AdapterSetup, Clock


def adapter_setup(
    integration: str,
    endpoint: Endpoint | None = None,
    auth: AnyAuth = NO_AUTH,
    tls: Tls | None = None,
    config: Any = None,
    *,
    clock: Clock | None = None,
    seed: int = 0,
    **more: Any,
) -> AdapterSetup:
    """Return a setup; on the real clock unless it is given another one, and with random numbers from a seed."""
    return AdapterSetup(
        integration,
        endpoint,
        auth,
        tls or Tls(),
        config,
        clock=clock or RealClock(),
        random=random.Random(seed),
        **more,
    )
