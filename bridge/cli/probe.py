"""Connect to each endpoint and test the credentials, for `nemo-bridge check --connect`."""

import asyncio
import dataclasses
import random
from collections.abc import Iterable

from bridge.config import Integration
from bridge.core.cancel import BoundedTasks
from bridge.core.clock import RealClock
from bridge.core.errors import BridgeError
from bridge.core.ports import Clock, ProtocolAdapter
from bridge.core.redaction import Redactor
from bridge.core.setup import setup_of

#: Seconds that closing a session may take.
_LONGEST_CLOSE = 1.0


async def probe(integrations: Iterable[Integration], redactor: Redactor) -> dict[str, str | None]:
    """Connect to all integrations at the same time, check them as the sidecar does, and disconnect.

    Returns:
        For each id the error or the warning, without secrets; None if there was none.
    """
    found: dict[str, str | None] = {}
    clock, rng = RealClock(), random.Random()  # noqa: S311 - jitter needs no secrecy

    async def one(integration: Integration) -> None:
        warnings: dict[str, str | None] = {}
        setup = setup_of(integration, clock=clock, random=rng, redactor=redactor)
        session = integration.spec.create(dataclasses.replace(setup, on_warning=warnings.__setitem__))
        wrong = await _probe(session, integration, clock)
        if wrong is None:  # a session that works, but not as the configuration has it
            wrong = next((f"connected, but {text}" for text in warnings.values() if text is not None), None)
        found[integration.id] = None if wrong is None else redactor.text(wrong)

    with clock.steady():
        async with asyncio.TaskGroup() as group:
            for integration in integrations:
                group.create_task(one(integration))
    return found


async def _probe(session: ProtocolAdapter, integration: Integration, clock: Clock) -> str | None:
    limit = integration.resilience.timeout + integration.health.timeout
    tasks = BoundedTasks(clock=clock, integration=integration.id)
    try:
        async with clock.timeout(limit):
            await tasks.run(session.connect(), "connect")
            await tasks.run(session.check(), "check")
    except TimeoutError:
        return f"no answer within {limit:g} s"
    except BridgeError as error:
        return f"{error.kind}: {error.message}"
    finally:
        try:
            async with clock.timeout(_LONGEST_CLOSE):
                await tasks.run(session.disconnect(), "disconnect")
        except TimeoutError:
            pass
    return None
