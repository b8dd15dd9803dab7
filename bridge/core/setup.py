"""The settings of an integration, and the setup of its adapter."""

from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from bridge.core.endpoint import AnyAuth, Endpoint, Tls
from bridge.core.errors import BridgeError
from bridge.core.ports import AdapterSetup, AdapterSpec, Clock
from bridge.core.redaction import Redactor
from bridge.core.settings import HealthSettings, ResilienceSettings


class IntegrationSettings(Protocol):
    """The settings that a connection reads; the configuration's `Integration` implements them."""

    @property
    def id(self) -> str:
        """The label."""
        ...

    @property
    def spec(self) -> AdapterSpec:
        """The protocol."""
        ...

    @property
    def endpoint(self) -> Endpoint | None:
        """Where the remote is."""
        ...

    @property
    def auth(self) -> AnyAuth:
        """How to prove who we are."""
        ...

    @property
    def tls(self) -> Tls:
        """Whom to trust."""
        ...

    @property
    def config(self) -> Any:
        """What only this protocol knows."""
        ...

    @property
    def resilience(self) -> ResilienceSettings:
        """Time limit, retry, breaker, limits."""
        ...

    @property
    def health(self) -> HealthSettings:
        """Checks."""
        ...


def setup_of(
    settings: IntegrationSettings,
    *,
    clock: Clock,
    random: Random,
    on_lost: Callable[[BridgeError], None] = lambda _: None,
    redactor: Redactor | None = None,
) -> AdapterSetup:
    """Return the setup from which an adapter is created.

    Args:
        settings: The integration's.
        clock: For all time that the adapter reads.
        random: For jitter.
        on_lost: Told when its connection breaks by itself.
        redactor: Learns what secrets the adapter reads by itself.
    """
    return AdapterSetup(
        integration=settings.id,
        endpoint=settings.endpoint,
        auth=settings.auth,
        tls=settings.tls,
        config=settings.config,
        max_in_flight=settings.resilience.limit.max_in_flight,
        on_lost=on_lost,
        clock=clock,
        random=random,
        hide=lambda secret: None if redactor is None else redactor.learn([secret]),
    )
