"""Words that a fuzzer would take long to find by itself."""

from typing import Final

from bridge.config.functions import FUNCTIONS

_KEYS: Final = ("id", "event_type", "payload", "timestamp", "source", "correlation_id", "headers")
_EXPRESSIONS: Final = (
    *(f"{name}(" for name in (*FUNCTIONS, "has")),
    *("event.payload.a", "event.payload.b", "event.payload.s", "event.payload.l", "event.payload.m.k"),
    *("event.payload.big", "event.payload.nan", "event.payload.inf", "event.payload.bytes", "event.payload.long"),
    *("event.headers", "event.type", "event", "env.TOKEN", "env.N", "message.topic", "var.x", '["a"]', "[0]", "[-1]"),
    *("&&", "||", "==", "!=", "<=", " - ", " ? ", " : ", "!", "true", "null", "1e308", "18446744073709551615", "0.1"),
    *(
        '"${',
        "}",
        "%{ if",
        "${~",
        '\\"',
        "\\u00e9",
        "\\U0010ffff",
        "<<EOT\n",
        "<<-EOT\n",
        "\nEOT\n",
        "[*]",
        ".*",
        "...",
    ),
)
_BLOCKS: Final = ("bridge", "log", "bus", "curve", "variable", "integration", "endpoint", "auth", "tls", "config")
_BLOCKS_INSIDE: Final = (
    "resilience",
    "retry",
    "circuit_breaker",
    "limit",
    "health",
    "route",
    "subscription",
    "schedule",
    "fabric",
)
_TYPES: Final = ("json-rpc", "http", "mqtt", "redis", "nats", "websocket", "file", "timer", "static", "basic", "bearer")
_ATTRIBUTES: Final = ("type", "url", "address", "port", "path", "token", "username", "password", "on", "where", "emit")
_MORE: Final = ("integration", "operation", "method", "params", "topic", "queue", "timeout", "max_attempts", "every")
_OF_FABRICS: Final = ("export", "import", "offer", "use", "delivery", "max_age", "replicas", "node", "singleton")
_HCL: Final = (
    *(f"{name} {{\n" for name in (*_BLOCKS, *_BLOCKS_INSIDE)),
    *(f'{name} "a" {{\n' for name in ("variable", "integration", "route", "subscription", "schedule", "fabric")),
    *(f'type = "{name}"\n' for name in _TYPES),
    *(f"{name} = " for name in (*_ATTRIBUTES, *_MORE, *_OF_FABRICS)),
    *("}\n", "/*", "*/", "#", "//", '"30s"', '"1MiB"', '"127.0.0.1:0"', '"http://a/"', '["order.*", "**"]'),
)

#: By target.
WORDS: Final[dict[str, tuple[bytes, ...]]] = {
    "codec": (
        *(bytes([0xA0 + len(key)]) + key.encode() for key in _KEYS),
        *(b"\x86", b"\x87", b"\x96", b"\xc1", b"\xc7\x0c\xff", b"\xd6\xff", b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff"),
        *(
            b"\xdf\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xff",
            b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
        ),
        *(b"\xaaorder.paid", b"\xa3\xed\xa0\x80", b"\x81\xc0\xc0", b"\x91" * 40, b"\xcf" + b"\xff" * 8),
    ),
    "hcl": tuple(word.encode() for word in (*_HCL, *_EXPRESSIONS)),
    "expressions": tuple(word.encode() for word in _EXPRESSIONS),
}
