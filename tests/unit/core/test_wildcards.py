"""Show how wildcards of one protocol are recognised in another."""

import pytest

from bridge.core.wildcards import EVENT_TYPES, Wildcards, translated

MQTT, NATS, REDIS = Wildcards("/", "+", "#"), Wildcards(".", "*", ">"), Wildcards("", "*", "*")


@pytest.mark.parametrize(
    ("own", "pattern", "meant"),
    [
        (EVENT_TYPES, "order/#", "order.**"),
        (EVENT_TYPES, "order.>", "order.**"),
        (EVENT_TYPES, "order.+.paid", "order.*.paid"),
        (EVENT_TYPES, "order.v1/#", "order.v1.**"),
        (EVENT_TYPES, "#", "**"),
        (EVENT_TYPES, "order.**.paid.*", None),
        (EVENT_TYPES, "order#.a>b", None),
        (MQTT, "metrics.#", "metrics/#"),
        (MQTT, "a.b/*", "a.b/+"),
        (MQTT, "metrics/**", "metrics/#"),
        (MQTT, "a.b/+/#", None),
        (MQTT, "$share/g/a/#", None),
        (NATS, "metrics/#", "metrics.>"),
        (NATS, "a.+.b", "a.*.b"),
        (NATS, "a/b.*.>", None),
        (REDIS, "metrics/#", "metrics/*"),
        (REDIS, "a.>", "a.*"),
        (REDIS, "a.*/**", None),
    ],
)
def test_wildcards_of_another_protocol(own, pattern, meant):
    """A pattern with them is written in the own language; any other is left as it is."""
    assert translated(pattern, own) == meant
