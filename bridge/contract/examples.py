"""One example of each payload; a test checks them with their schemas."""

from typing import Any, Final

_CAUSE: Final = {"source": "shop", "id": 41, "event_type": "integration.backend_api.request"}
_ERROR: Final = {"kind": "timeout", "message": "no answer within 10 s", "retryable": True}
_HEAD: Final = {"integration": "backend_api", "operation": "request", "cause": _CAUSE}

EVENT: Final = {
    "id": 41,
    "event_type": "integration.backend_api.request",
    "payload": {"method": "orders.get", "params": {"id": 7}},
    "timestamp": 1763935200000,
    "source": "shop",
    "correlation_id": "5b0c1f0e-6f0b-4f5e-9d53-0a3c7d0f8a11",
    "headers": {"idempotency_key": "orders-7", "seq": "41"},
}

COMMANDS: Final[dict[str, Any]] = {
    "request": {"method": "orders.get", "params": {"id": 7}, "timeout_ms": 2000},
    "publish": {"topic": "orders/new", "message": {"id": 7}, "qos": 1},
    "subscribe": {"topic": "metrics/#", "emit": "data.metrics"},
    "unsubscribe": {"subscription": "subscription-1"},
    "enqueue": {"queue": "orders", "message": {"id": 7}, "headers": {"tenant": "north"}},
    "dequeue": {"queue": "orders", "wait_ms": 1000},
    "ack": {"message_id": "1763935200000-0"},
    "nack": {"message_id": "1763935200000-0", "delay_ms": 5000},
    "bridge.ping": "are you there?",
    "bridge.inspect": {"integration": "backend_api"},
    "bridge.match": {"event_type": "order.created", "payload": {"id": 7, "total": 120}},
    "bridge.reload": {"dry_run": True},
    "bridge.forget_node": {"node": "desk-9", "fabric": "plant"},
    "bridge.dead_letters": {"integration": "backend_api", "limit": 20},
    "bridge.replay": {"ids": ["17"]},
    "bridge.discard": {"ids": ["17"]},
}

BRIDGE: Final = {
    "status": "ready",
    "version": "0.1.0",
    "name": "bridge",
    "pid": 4711,
    "uptime_ms": 61234,
    "bus": {"received": 120, "published": 260, "rejected": 0, "gaps": 0, "missing": 0, "dropped": 0},
    "outbox": {"pending": 0, "bytes": 0, "oldest_ms": 0, "dead_letters": 0, "problem": None, "missing": None},
    "integrations": {"backend_api": "connected"},
}
_SUBSCRIPTION: Final = {
    "subscription": "subscription-1",
    "topic": "metrics/#",
    "queue": False,
    "emit": "data.metrics",
    "messages": 12,
    "asked": {"source": "shop", "timestamp": 1763935200000},
}
INTEGRATION: Final = {
    "integration": "backend_api",
    "type": "json-rpc",
    "status": "connected",
    "previous": "connecting",
    "since": 1763935200000,
    "circuit": "closed",
    "latency_ms": 3.2,
    "in_flight": 2,
    "queued": 0,
    "error": None,
    "accounting": {
        "accepted": 97,
        "succeeded": 90,
        "failed": 3,
        "dead_lettered": 0,
        "expired": 1,
        "shed": 1,
        "in_flight": 2,
        "queued": 0,
    },
    "messages": 0,
    "dropped": 0,
    "reconnects": 1,
    "warnings": [],
    "subscriptions": {},
}

FABRIC: Final = {
    "fabric": "plant",
    "integration": "cluster",
    "node": "desk-7",
    "status": "connected",
    "previous": "connecting",
    "since": 1763935200000,
    "delivery": "at_least_once",
    "error": None,
    "warnings": [],
    "nodes": {"desk-8": "connected", "desk-9": "lost"},
    "counts": {"exported": 120, "imported": 240, "duplicates": 1, "garbage": 0, "missed": 0, "served": 17},
}
NODE: Final = {
    "node": "desk-9",
    "fabric": "plant",
    "status": "lost",
    "previous": "connected",
    "since": 1763935200000,
    "bridge": "bridge",
    "version": "0.1.0",
    "integrations": {"cluster": "connected", "printer": "connected"},
    "offers": ["printer"],
}

_ORDER: Final = {
    "id": 41,
    "event_type": "order.placed",
    "payload": {"id": 7},
    "timestamp": 1763935200000,
    "source": "shop",
    "correlation_id": None,
    "headers": {"idempotency_key": "orders-7"},
}
_REJECTED: Final = {"kind": "rejected", "message": "no such product", "retryable": False, "code": 404}
_HISTORY: Final = [{"at": 1763935200100, "duration_ms": 3.1, "error": _REJECTED}]
_LETTER: Final = {
    "letter_id": "17",
    "integration": "backend_api",
    "route": "orders",
    "operation": "request",
    "idempotency_key": "orders-7",
    "accepted_ms": 1763935200002,
    "at": 1763935200104,
    "error": _REJECTED,
    "unknown": False,
    "attempts": 1,
    "history": _HISTORY,
    "event": _ORDER,
}

_FLEET_NODE: Final = {
    "status": "connected",
    "since": 1763935200000,
    "heard_ms": 1234.5,
    "bridge": "bridge",
    "version": "0.1.0",
    "integrations": {"cluster": "connected", "printer": "connected"},
    "offers": ["printer"],
    "leases": [],
    "left_out": 0,
}
_ROUTE_ROW: Final = {
    "route": "orders",
    "on": ["order.placed"],
    "integration": "backend_api",
    "operation": "request",
    "durable": True,
    "succeeded": 90,
    "failed": 3,
    "rate": 1.2,
}
_SERIES: Final = {
    "at": 1763935200000,
    "step_ms": 15000,
    "succeeded": [0] * 56 + [12, 31, 29, 18],
    "failed": [0] * 59 + [3],
    "messages": [0] * 60,
}
_RATES: Final = {"succeeded": 1.87, "failed": 0.2, "messages": 0.0, "p50_ms": 3.41, "p95_ms": 22.0}
_ROW: Final = {
    "integration": "backend_api",
    "type": "json-rpc",
    "status": "connected",
    "since": 1763935200000,
    "circuit": "closed",
    "error": None,
    "in_flight": 2,
    "queued": 0,
    "pending": 0,
    "dead_letters": 1,
    "dropped": 0,
    "warnings": 0,
    "unwell": 0,
    "rates": _RATES,
    "series": _SERIES,
}

RESULTS: Final[dict[str, Any]] = {
    "request": {"id": 7, "total": 120},
    "publish": {"stream": "ORDERS", "sequence": 1207},
    "subscribe": {"subscription": "subscription-1"},
    "enqueue": {"message_id": "1763935200000-0"},
    "dequeue": {"message_id": "1763935200000-0", "message": {"id": 7}, "attempts": 1, "headers": {}},
    "circuit.force_open": {"state": "open"},
    "circuit.reset": {"state": "closed"},
    "bridge.ping": "are you there?",
    "bridge.status": {"bridge": BRIDGE, "backend_api": INTEGRATION},
    "bridge.subscriptions": {"backend_api": [_SUBSCRIPTION]},
    "bridge.overview": {
        "at": 1763935207000,
        "bridge": BRIDGE,
        "received": 2.07,
        "published": 4.4,
        "rates": _RATES,
        "series": _SERIES,
        "problems": [
            {
                "kind": "dead_letters",
                "severity": "warning",
                "text": "1 dead letter to be replayed or discarded",
                "since": 1763935200104,
                "integrations": ["backend_api"],
            }
        ],
        "integrations": [_ROW],
        "routes": [_ROUTE_ROW],
        "subscriptions": [
            {
                "integration": "backend_api",
                "subscription": "subscription-1",
                "topic": "metrics/#",
                "emit": "data.metrics",
                "messages": 12,
                "rate": 0.0,
            }
        ],
        "fabrics": [
            {
                "fabric": "plant",
                "integration": "cluster",
                "node": "desk-7",
                "status": "connected",
                "since": 1763935200000,
                "error": None,
                "warnings": 0,
                "nodes": 3,
                "connected": 2,
                "lost": 1,
            }
        ],
    },
    "bridge.inspect": {
        "at": 1763935207000,
        "row": _ROW,
        "health": INTEGRATION,
        "attempts": 97,
        "retries": 4,
        "failures": {"rejected": 3},
        "durations": {"request": [{"up_to_ms": 0.5, "count": 0}, {"up_to_ms": None, "count": 93}]},
        "failed": [
            {
                "at": 1763935200104,
                "operation": "request",
                "route": "orders",
                "cause": {"source": "shop", "id": 41, "event_type": "order.placed"},
                "correlation_id": None,
                "traceparent": None,
                "durable": True,
                "attempts": 1,
                "duration_ms": 3.2,
                "error": _REJECTED,
                "history": _HISTORY,
            }
        ],
        "circuit": [{"at": 1763935200000, "state": "closed", "error": None}],
        "routes": [_ROUTE_ROW],
        "subscriptions": [_SUBSCRIPTION],
        "dead_letters": [_LETTER],
        "configuration": {"type": "json-rpc", "endpoint.url": "https://api.example.com/rpc", "auth.token": "***"},
    },
    "bridge.match": {
        "command": False,
        "stops": False,
        "error": None,
        "routes": [{"route": "orders", "integration": "backend_api", "operation": "request", "where": True}],
    },
    "bridge.configuration": {
        "files": ["/etc/nemo-bridge/bridge.hcl"],
        "integrations": {
            "backend_api": {
                "type": "json-rpc",
                "endpoint.url": "https://api.example.com/rpc",
                "auth.type": "bearer",
                "auth.token": "***",
                "resilience.timeout": "10s",
            }
        },
        "routes": {
            "orders": {
                "on": ["order.placed"],
                "integration": "backend_api",
                "operation": "request",
                "method": "orders.create",
                "params": "{ id = event.payload.id }",
            }
        },
        "subscriptions": {},
        "fabrics": {"plant": {"integration": "cluster", "node": "desk-7", "export": ["order.**"]}},
        "settings": {"bridge": {"heartbeat": "5s"}, "log": {"level": "info"}, "bus": {"max_message": "1MiB"}},
        "pending": {"old_api": 12},
    },
    "bridge.reload": {
        "added": ["metrics"],
        "changed": ["backend_api"],
        "removed": ["old_api"],
        "unchanged": [],
        "integrations": {
            "added": ["metrics"],
            "removed": ["old_api"],
            "changed": {"backend_api": {"resilience.timeout": ["10s", "5s"], "auth.token": ["***", "***"]}},
        },
        "routes": {
            "added": [],
            "removed": [],
            "changed": {"orders": {"where": [None, "event.payload.total > 100"]}},
        },
        "subscriptions": {"added": ["cpu"], "removed": [], "changed": {}},
        "fabrics": {"added": [], "removed": [], "changed": {"plant": {"max_age": ["24h", "48h"]}}},
        "needs_restart": ["log"],
        "settings": {"log": {"level": ["info", "debug"]}},
        "stranded": {"old_api": 12},
    },
    "bridge.fleet": {
        "fabrics": {
            "plant": {
                "health": FABRIC,
                "nodes": {
                    "desk-7": _FLEET_NODE | {"heard_ms": None, "leases": ["nightly"]},
                    "desk-8": _FLEET_NODE,
                    "desk-9": _FLEET_NODE | {"status": "lost", "heard_ms": 61234.5},
                },
                "uses": {"printer": ["desk-8"]},
                "vacant": [],
                "left_out": 0,
            }
        }
    },
    "bridge.forget_node": {"fabrics": ["plant"]},
    "bridge.dead_letters": {"letters": [_LETTER], "total": 1},
    "bridge.replay": {"moved": 1},
    "bridge.discard": {"moved": 1},
}


def success(result: Any, *, attempts: int) -> dict[str, Any]:
    """Return a response with a result."""
    return {"ok": True, "result": result, "attempts": attempts, "duration_ms": 4.125}


ROUTE: Final = success({"id": 7}, attempts=1) | {"route": "orders"}
UNKNOWN: Final = {
    "ok": False,
    "error": {
        "kind": "unknown_operation",
        "message": "there is no operation 'requst'; did you mean 'request'?",
        "retryable": False,
    },
    "attempts": 0,
    "duration_ms": 0.0,
}
MESSAGE: Final = {"topic": "metrics/cpu", "message": {"load": 0.4}, "headers": {}, "message_id": "17", "attempts": 1}

RETRY: Final = _HEAD | {"attempt": 1, "max_attempts": 3, "delay_ms": 87, "error": _ERROR}
FAILED: Final = _HEAD | {"attempts": 3, "error": _ERROR}
GIVEN_UP: Final = {
    "integration": "store",
    "operation": "subscribe",
    "cause": None,
    "message": MESSAGE | {"attempts": 5},
    "error": {"kind": "rejected", "message": "delivered 5 times and never acknowledged", "retryable": False},
}
DEGRADED: Final = {
    "integration": "events",
    "operation": None,
    "cause": None,
    "warning": "qos metrics/#",
    "text": "the broker granted quality of service 0 for metrics/#, and 1 was asked for",
}
SHED: Final = _HEAD | {"reason": "circuit_open", "count": 12}
RECEIPT: Final = {
    "integration": "backend_api",
    "operation": "request",
    "idempotency_key": "orders-7",
    "cause": {"source": "shop", "id": 41, "event_type": "order.placed"},
    "attempts": 1,
}
DEAD_LETTER: Final = _HEAD | {
    "letter_id": "17",
    "event": _ORDER,
    "error": _REJECTED,
    "unknown": False,
    "attempts": 1,
    "history": _HISTORY,
}
BUS_REJECTED: Final = {"reason": "type_mismatch", "count": 3, "detail": "`event_type` differs from the first frame"}
OUTBOX_LOSS: Final = {"commits": 3, "entries": 2, "replaced": False}
CONSOLE_ACTION: Final = {
    "action": "replay",
    "integration": "backend_api",
    "by": "127.0.0.1:51410",
    "ok": True,
    "error": None,
    "moved": 3,
    "count": 1,
}
FABRIC_MISSED: Final = {"fabric": "plant", "node": "desk-7", "count": 12}
FABRIC_REJECTED: Final = {"fabric": "plant", "count": 3, "detail": "nemo.plant.event.desk-8.order.placed: no event"}
LEASE_CHANGE: Final = {
    "fabric": "plant",
    "subscription": "nightly",
    "node": "desk-7",
    "previous": "desk-9",
    "term": 4711,
    "gap_ms": 9120.0,
}
BUS_GAP: Final = {"source": "shop", "missing": 17}

_BEFORE: Final = {"open": "closed", "half_open": "open", "closed": "half_open"}


def circuit(state: str) -> dict[str, Any]:
    """Return the payload of a change of the circuit breaker to this state."""
    opened = state == "open"
    return _HEAD | {
        "from": _BEFORE[state],
        "to": state,
        "failures": 0 if state == "closed" else 5,
        "retry_after_ms": 30412 if opened else None,
        "error": None if state == "closed" else _ERROR,
    }
