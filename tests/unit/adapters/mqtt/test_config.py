"""What an MQTT integration is made from: endpoint, credentials, config."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from bridge.adapters.mqtt.adapter import MqttAdapter
from bridge.adapters.mqtt.config import MqttConfig, resolve
from bridge.core.endpoint import AuthBasic, AuthBearer, AuthCertificate, Endpoint, Tls
from tests.support.adapters.setup import adapter_setup


def target(endpoint: dict[str, Any], **more: Any) -> Any:
    """The resolved target of an endpoint block."""
    config = more.pop("config", MqttConfig())
    return resolve(adapter_setup("test", Endpoint(**endpoint), **more), config)


@pytest.mark.parametrize(
    ("endpoint", "host", "port", "tls"),
    [
        ({"address": "h"}, "h", 8883, True),
        ({"address": "h", "port": 8883, "tls": True}, "h", 8883, True),
        ({"address": "h", "port": 9999}, "h", 9999, True),
        ({"address": "h", "port": 1883}, "h", 1883, False),
        ({"address": "h", "tls": False}, "h", 1883, False),
        ({"address": "h", "port": 1883, "tls": True}, "h", 1883, True),
        ({"address": "::1", "tls": False}, "::1", 1883, False),
        ({"address": "mqtt://h"}, "h", 1883, False),
        ({"url": "mqtts://h:1000"}, "h", 1000, True),
        ({"url": "mqtt://[::1]:1/"}, "::1", 1, False),
    ],
)
def test_where_the_broker_is(endpoint: dict[str, Any], host: str, port: int, tls: bool) -> None:  # a table
    """TLS is what a bare host means, and there is a context whenever it is asked for."""
    found = target(endpoint)
    assert (found.server.host, found.server.port, found.context is not None) == (host, port, tls)


@pytest.mark.parametrize(
    ("endpoint", "more", "why"),
    [
        ({"address": "h", "path": "/mqtt"}, {}, "no path"),
        ({"url": "mqtt://h/x"}, {}, "no path"),
        ({"address": "h"}, {"auth": AuthCertificate(type="certificate", cert=Path("absent"))}, "client certificate"),
        ({"address": "h"}, {"tls": Tls(ca=Path("absent"))}, "tls.ca"),
        ({"address": "h"}, {"auth": AuthBasic(type="basic", username="u", password=SecretStr("\0"))}, "NUL"),
    ],
)
def test_what_cannot_work_is_said_before_connecting(endpoint: dict[str, Any], more: dict[str, Any], why: str) -> None:
    """In words for a person."""
    with pytest.raises(ValueError, match=why):
        target(endpoint, **more)


def test_credentials() -> None:
    """A token is the password; nothing of it shows."""
    basic = target({"address": "h"}, auth=AuthBasic(type="basic", username="u", password=SecretStr("pa55")))
    token = target({"address": "h"}, auth=AuthBearer(type="bearer", token=SecretStr("pa55")))
    other = target(
        {"address": "h"},
        auth=AuthBearer(type="bearer", token=SecretStr("pa55")),
        config=MqttConfig(bearer_username="jwt"),
    )
    assert (basic.username, basic.password) == ("u", "pa55")
    assert (token.username, token.password) == ("bearer", "pa55")
    assert other.username == "jwt"
    assert "pa55" not in repr(basic) + repr(token)


@pytest.mark.parametrize(
    "config",
    [
        {"version": "4"},
        {"client_id": ""},
        {"client_id": "a\x00"},
        {"keep_alive": "0s"},
        {"keep_alive": 70_000},
        {"clean_start": False},
        {"session_expiry": "1h"},
        {"session_expiry": "1h", "clean_start": False, "client_id": "c", "version": "3.1.1"},
        {"will": {"topic": "a/#"}},
        {"will": {"topic": ""}},
        {"codec": "xml"},
        {"receive_maximum": 0},
        {"unknown": 1},
    ],
)
def test_bad_settings(config: dict[str, Any]) -> None:
    """Each is a complaint when the configuration is loaded."""
    with pytest.raises(ValidationError):
        MqttConfig(**config)


def test_how_long_the_broker_keeps_a_session() -> None:
    """Not at all, a day, or what is said."""
    kept = {"client_id": "c", "clean_start": False}
    assert MqttConfig().expiry_seconds == 0
    assert MqttConfig(**kept).expiry_seconds == 86_400
    assert MqttConfig(**kept, session_expiry="1500ms").expiry_seconds == 2


async def test_a_will_that_the_codec_cannot_carry() -> None:
    """Is said when the adapter is made."""
    config = MqttConfig(codec="text", will={"topic": "t", "message": {"a": 1}})
    with pytest.raises(ValueError, match=r"will\.message"):
        MqttAdapter(adapter_setup("test", Endpoint(url="mqtt://h"), config=config))
