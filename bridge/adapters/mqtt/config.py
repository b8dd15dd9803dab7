"""`config { … }` of an MQTT integration, and where its broker is."""

import ssl
from dataclasses import dataclass, field
from math import ceil
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from bridge.adapters._common import endpoint as endpoints
from bridge.adapters._common.content import CodecName
from bridge.adapters._common.endpoint import server_name, tls_context
from bridge.adapters.mqtt.topics import check_text, check_topic
from bridge.core.endpoint import AuthBasic, AuthBearer, ResolvedEndpoint, Schemes, Strict
from bridge.core.errors import InvalidError
from bridge.core.ports import AdapterSetup
from bridge.core.units import Duration, PositiveDuration

#: URL scheme → (default port, TLS); the ports are IANA's.
SCHEMES: Final[Schemes] = {"mqtts": (8883, True), "mqtt": (1883, False)}


def _topic(value: str) -> str:
    try:
        return check_topic(value)
    except InvalidError as error:
        raise ValueError(error.message) from None


def _text(value: str) -> str:
    try:
        return check_text(value, "not an MQTT string")
    except InvalidError as error:
        raise ValueError(error.message) from None


Topic = Annotated[str, AfterValidator(_topic)]


class Will(Strict):
    """`will { … }`: what the broker publishes when the sidecar is gone without having said so."""

    topic: Annotated[Topic, Field(description="The topic, without wildcards.")]
    message: Annotated[
        Any, Field(description="The message, written by the codec like any other; at most 65,535 bytes.")
    ] = ""
    qos: Annotated[Literal[0, 1, 2], Field(description="The quality of service.")] = 1
    retain: Annotated[bool, Field(description="Whether the broker keeps the message for later subscribers.")] = False


class MqttConfig(Strict):
    """`config { … }` of an MQTT integration."""

    version: Annotated[
        Literal["3.1.1", "5"], Field(description="The version of MQTT. 3.1.1 has no headers, no RPC and no groups.")
    ] = "5"
    client_id: Annotated[
        str | None,
        Field(
            min_length=1,
            description="The name of this client at the broker; no other client may use it. Default: a random one.",
        ),
        AfterValidator(lambda value: value if value is None else _text(value)),
    ] = None
    keep_alive: Annotated[
        PositiveDuration,
        Field(
            le=65_535,
            description="After so long without data, a ping is sent. If nothing comes for as long again, the "
            "connection is given up. Whole seconds, rounded up.",
        ),
    ] = 60.0
    clean_start: Annotated[
        bool,
        Field(
            description="`false`: the broker keeps subscriptions and messages for `client_id` while the bridge is away."
        ),
    ] = True
    session_expiry: Annotated[
        Duration | None,
        Field(
            le=0xFFFF_FFFE,
            description="With `clean_start = false`: how long the broker keeps them (MQTT 5). Default: a day.",
        ),
    ] = None
    will: Annotated[
        Will | None, Field(description="What the broker publishes when the bridge is gone without having said so.")
    ] = None
    codec: Annotated[
        CodecName,
        Field(
            description="How messages, parameters and results become bytes and back. `auto` writes text as text and "
            "all else as JSON, and reads by the content type, else JSON, else UTF-8 text, else bytes."
        ),
    ] = "auto"
    receive_maximum: Annotated[
        int,
        Field(
            ge=1,
            le=65_535,
            description="Messages with QoS 1 and 2 that the broker may send without an acknowledgement, of all "
            "subscriptions together (MQTT 5). Then it waits.",
        ),
    ] = 1000
    bearer_username: Annotated[
        str, Field(description="The user name that goes with a bearer token, which is sent as the password.")
    ] = "bearer"

    @model_validator(mode="after")
    def _session_can_be_kept(self) -> Self:
        if not self.clean_start and self.client_id is None:
            raise ValueError("`clean_start = false` needs a `client_id`, by which the broker knows the session again")
        if self.session_expiry is not None and self.clean_start:
            raise ValueError("`session_expiry` needs `clean_start = false`")
        if self.session_expiry is not None and self.version == "3.1.1":
            raise ValueError("MQTT 3.1.1 has no `session_expiry`; the broker decides")
        return self

    @property
    def expiry_seconds(self) -> int:
        """The session expiry interval of CONNECT, in whole seconds."""
        if self.clean_start:
            return 0
        return 86_400 if self.session_expiry is None else ceil(self.session_expiry)


@dataclass(frozen=True, slots=True)
class Target:
    """One broker, and what proves who we are."""

    server: ResolvedEndpoint
    server_name: str
    context: ssl.SSLContext | None
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def resolve(setup: AdapterSetup, config: MqttConfig) -> Target:
    """The target of one integration.

    Raises:
        ValueError: The blocks contradict each other or name a file that does not serve, in words for a person.
    """
    server = endpoints.resolve(setup, SCHEMES)[0]
    server.refuse_path("MQTT")
    username, password = _credentials(setup.auth, config)
    context = tls_context(setup, server)
    return Target(server, server_name(setup, server), context, username, password)


def _credentials(auth: object, config: MqttConfig) -> tuple[str | None, str | None]:
    match auth:
        case AuthBasic(username=username, password=password):
            # MQTT 3.1.1 has no password without a user name (3.1.2.9), and paho sends none.
            pair = username or "", password.get_secret_value()
        case AuthBearer(token=token):
            pair = config.bearer_username, token.get_secret_value()
        case _:
            return None, None
    for name, text in zip(("auth.username", "auth: the password or token"), pair, strict=True):
        if len(text.encode(errors="replace")) > 65_535 or "\0" in text:
            raise ValueError(f"{name} does not fit into MQTT: NUL, or more than 65535 bytes")
    return pair
