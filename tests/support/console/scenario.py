"""What a bridge tells the console: one with 31 integrations, ten of which are down, a large one, a hostile one."""

import json
import random
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from bridge.core.errors import ErrorObject
from bridge.core.model import Cause, CircuitState, ConnectionStatus, FailedAttempt
from bridge.core.payloads import (
    Accounting,
    BridgeHealth,
    BusCounts,
    CircuitMoment,
    FailedOperation,
    IntegrationHealth,
    Letter,
    LetterEvent,
    LiveSubscription,
    OutboxCounts,
    SubscriptionHealth,
)
from bridge.core.payloads.health import Asked
from bridge.core.payloads.views import (
    Bucket,
    Inspection,
    IntegrationRow,
    Overview,
    Problem,
    Rates,
    RouteRow,
    Series,
    SubscriptionRow,
)

STEP_MS: Final = 15_000
STEPS: Final = 60
_MINUTE: Final = 60_000
_LIMITS: Final = (0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, None)
_SHARES: Final = (0, 0, 2, 9, 22, 31, 18, 8, 4, 2, 1, 0, 0, 0, 0, 0, 0)
#: Label, type, operations a second, messages a second.
_WELL: Final = (
    ("shop", "json-rpc", 42.0, 0.0),
    ("stock", "json-rpc", 31.5, 0.0),
    ("prices", "http", 18.2, 0.0),
    ("customers", "json-rpc", 12.4, 0.0),
    ("search", "http", 9.1, 0.0),
    ("invoices", "http", 4.3, 0.0),
    ("mail", "http", 2.2, 0.0),
    ("floor", "mqtt", 6.0, 214.0),
    ("scales", "mqtt", 0.0, 38.5),
    ("orders", "nats", 12.0, 12.1),
    ("events", "nats", 88.0, 0.0),
    ("cache", "redis", 64.7, 0.0),
    ("jobs", "redis", 7.5, 7.4),
    ("ticker", "websocket", 0.0, 51.0),
    ("exports", "file", 0.4, 0.0),
    ("drop_box", "file", 0.0, 0.1),
    ("nightly", "timer", 0.0, 0.0),
    ("limits", "static", 0.0, 0.0),
    ("weather", "http", 0.2, 0.0),
    ("maps", "http", 1.1, 0.0),
)
#: Label, type, status, circuit, the text of its error, minutes that it has been so, and operations that wait.
_DOWN: Final = (
    ("ledger", "json-rpc", "disconnected", "open", ("not_connected", "connection refused"), 12, 1840),
    ("payments", "json-rpc", "disconnected", "open", ("not_connected", "connection refused"), 12, 612),
    ("vouchers", "json-rpc", "disconnected", "closed", ("not_connected", "connection refused"), 12, 0),
    ("loyalty", "json-rpc", "disconnected", "closed", ("not_connected", "connection refused"), 12, 38),
    ("archive", "nats", "disconnected", "closed", ("not_connected", "connection refused"), 12, 270),
    ("reports", "nats", "disconnected", "closed", ("not_connected", "connection refused"), 12, 0),
    ("sensors", "mqtt", "disconnected", "closed", ("timeout", "no answer to CONNECT within 10 s"), 11, 0),
    ("gates", "mqtt", "disconnected", "closed", ("timeout", "no answer to CONNECT within 10 s"), 11, 0),
    ("tax", "http", "failed", "closed", ("auth", "401: the token has expired"), 187, 0),
    ("carrier", "http", "degraded", "half_open", ("unavailable", "503 Service Unavailable"), 3, 17),
)


def _series(generator: random.Random, at: int, succeeded: float, messages: float, down: int | None) -> Series:
    """Return 15 minutes until `at`; `down` is the number of steps since which all fails."""
    begun = at - at % STEP_MS

    def noise(level: float, step: int) -> int:
        lasted = STEP_MS if step < STEPS - 1 else at - begun
        return round(level * lasted / 1000 * generator.uniform(0.8, 1.2))

    lives = [down is None or step < STEPS - down for step in range(STEPS)]
    return Series(
        at=begun,
        step_ms=STEP_MS,
        succeeded=[noise(succeeded, step) if live else 0 for step, live in enumerate(lives)],
        failed=[0 if live else noise(succeeded / 4, step) for step, live in enumerate(lives)],
        messages=[noise(messages, step) if live else 0 for step, live in enumerate(lives)],
    )


def _error(kind: Any, message: str) -> ErrorObject:
    return ErrorObject(kind=kind, message=message, retryable=kind not in {"auth", "rejected"})


def _row(name: str, kind: str, at: int, **more: Any) -> IntegrationRow:
    given: dict[str, Any] = {
        "status": ConnectionStatus.CONNECTED,
        "since": at - 26 * 60 * _MINUTE,
        "circuit": CircuitState.CLOSED,
        "error": None,
        "in_flight": 0,
        "queued": 0,
        "pending": 0,
        "dead_letters": 0,
        "dropped": 0,
        "warnings": 0,
        "unwell": 0,
        "rates": Rates(0.0, 0.0, 0.0, None, None),
    }
    return IntegrationRow(integration=name, type=kind, **(given | more))


def _latency(generator: random.Random, load: float) -> tuple[float, float] | tuple[None, None]:
    if not load:
        return (None, None)
    half = generator.uniform(0.8, 24)
    return (round(half, 1), round(half * generator.uniform(2, 6), 1))


def _rows(at: int) -> Iterator[IntegrationRow]:
    generator = random.Random(7)
    for name, kind, status, circuit, why, minutes, waiting in _DOWN:
        load = {"ledger": 9.0, "payments": 6.0, "archive": 3.0, "carrier": 2.0, "tax": 0.4}.get(name, 0.8)
        yield _row(
            name,
            kind,
            at,
            status=ConnectionStatus(status),
            since=at - minutes * _MINUTE,
            circuit=CircuitState(circuit),
            error=_error(*why),
            pending=waiting,
            queued=4 if name == "carrier" else 0,
            in_flight=1 if name == "carrier" else 0,
            dead_letters={"tax": 14, "ledger": 3}.get(name, 0),
            rates=Rates(0.0, round(load / 4, 1), 0.0, None, None),
            series=_series(generator, at, load, 0.0, min(STEPS, minutes * 4)),
        )
    yield _row("partner", "websocket", at, status=ConnectionStatus.PAUSED, since=at - 45 * _MINUTE)
    for name, kind, load, messages in _WELL:
        calm = not load and not messages
        yield _row(
            name,
            kind,
            at,
            in_flight=round(load / 20),
            warnings=1 if name == "scales" else 0,
            rates=Rates(load, 0.1 if name == "events" else 0.0, messages, *_latency(generator, load)),
            **({} if calm else {"series": _series(generator, at, load, messages, None)}),
        )


def _together(rows: list[IntegrationRow], at: int) -> Series:
    all_of = [row.series for row in rows if isinstance(row.series, Series)]
    sums = {
        name: [sum(values) for values in zip(*(getattr(one, name) for one in all_of), strict=True)]
        for name in ("succeeded", "failed", "messages")
    }
    return Series(at=at - at % STEP_MS, step_ms=STEP_MS, **sums)


def overview(at: int) -> Overview:
    """Return the overview of the outage at a time, Unix time in milliseconds."""
    rows = list(_rows(at))
    names = [row.integration for row in rows]
    problems = [
        Problem(
            "disconnected",
            "error",
            "disconnected: not_connected: connection refused",
            at - 12 * _MINUTE,
            sorted(names[:6]),
        ),
        Problem(
            "disconnected",
            "error",
            "disconnected: timeout: no answer to CONNECT within 10 s",
            at - 11 * _MINUTE,
            sorted(names[6:8]),
        ),
        Problem("failed", "error", "failed: auth: 401: the token has expired", at - 187 * _MINUTE, ["tax"]),
        Problem(
            "circuit", "error", "circuit half-open: unavailable: 503 Service Unavailable", at - 3 * _MINUTE, ["carrier"]
        ),
        Problem(
            "dead_letters",
            "warning",
            "17 dead letters to be replayed or discarded",
            at - 171 * _MINUTE,
            ["ledger", "tax"],
        ),
        Problem("paused", "warning", "paused", at - 45 * _MINUTE, ["partner"]),
    ]
    pending = sum(row.pending for row in rows)
    urgency = ("failed", "disconnected", "degraded", "paused", "connected")
    rows.sort(key=lambda row: (urgency.index(row.status), row.integration))
    return Overview(
        at=at,
        bridge=BridgeHealth(
            status="ready",
            version="0.1.0",
            name="plant-7",
            pid=4711,
            uptime_ms=26 * 60 * _MINUTE,
            bus=BusCounts(received=18_402_113, published=34_120_877, rejected=0, gaps=0, missing=0, dropped=0),
            outbox=OutboxCounts(
                pending=pending,
                bytes=pending * 412,
                oldest_ms=12 * _MINUTE,
                dead_letters=17,
                problem=None,
                missing=None,
            ),
            integrations={row.integration: row.status for row in rows},
        ),
        received=341.0,
        published=655.0,
        rates=Rates(
            round(sum(row.rates.succeeded for row in rows), 1),
            round(sum(row.rates.failed for row in rows), 1),
            round(sum(row.rates.messages for row in rows), 1),
            9.4,
            48.0,
        ),
        series=_together(rows, at),
        problems=problems,
        integrations=rows,
        routes=_routes(),
        subscriptions=_subscriptions(),
    )


def _routes() -> list[RouteRow]:
    wanted = (
        ("orders_to_shop", "order.created", "shop", "request", True, 42.0),
        ("stock_moves", "stock.*", "stock", "request", False, 31.5),
        ("price_lookups", "price.wanted", "prices", "request", False, 18.2),
        ("to_ledger", "order.paid", "ledger", "request", True, 2.2),
        ("refunds", "refund.**", "ledger", "request", True, 0.1),
        ("to_payments", "payment.wanted", "payments", "request", True, 1.5),
        ("archive_all", "order.**", "archive", "publish", True, 0.8),
        ("tell_all", "order.**", "events", "publish", False, 88.0),
        ("remember", "session.*", "cache", "request", False, 64.7),
        ("taxes", "invoice.drafted", "tax", "request", True, 0.1),
        ("ship", "order.packed", "carrier", "request", True, 0.5),
    )
    return [
        RouteRow(
            route=name,
            on=[on],
            integration=to,
            operation=operation,
            durable=durable,
            succeeded=round(pace * 90_000),
            failed=0 if pace > 5 else 412,
            rate=pace,
        )
        for name, on, to, operation, durable, pace in wanted
    ]


def _subscriptions() -> list[SubscriptionRow]:
    wanted = (
        ("floor", "machines", "plant/7/+/state", "machine.state", 180.0),
        ("floor", "alarms", "plant/7/alarms/#", "machine.alarm", 34.0),
        ("scales", "weights", "scales/+/weight", None, 38.5),
        ("ticker", "rates", "rates", "rate.changed", 51.0),
        ("orders", "new", "orders.new", "order.created", 12.1),
        ("jobs", "jobs", "jobs", "job.wanted", 7.4),
        ("sensors", "climate", "plant/7/climate/#", "climate.measured", 0.0),
        ("gates", "gates", "plant/7/gates/+", "gate.moved", 0.0),
    )
    return [
        SubscriptionRow(
            integration=one, subscription=name, topic=topic, emit=emit, messages=round(pace * 90_000), rate=pace
        )
        for one, name, topic, emit, pace in wanted
    ]


def _failed(at: int, number: int) -> FailedOperation:
    generator = random.Random(number)
    ended = at - number * 14_000 - 4_000
    history = []
    begin = ended - 7_300
    for pause in (0, 260, 810, 2_150):
        begin += pause
        took = round(generator.uniform(0.4, 3.0), 1)
        history.append(FailedAttempt(at=begin, duration_ms=took, error=_error("not_connected", "connection refused")))
        begin += round(took)
    refund = number % 7 == 3
    return FailedOperation(
        at=ended,
        operation="request",
        route="refunds" if refund else "to_ledger",
        cause=Cause(source="checkout", id=88_120 - number, event_type="refund.wanted" if refund else "order.paid"),
        correlation_id=f"5b0c1f0e-6f0b-4f5e-9d53-{number:012x}",
        traceparent=f"00-4bf92f3577b34da6a3ce929d0e0e{number:04x}-00f067aa0ba902b7-01",
        durable=True,
        attempts=len(history),
        duration_ms=float(ended - history[0].at),
        error=history[-1].error,
        history=history,
    )


def _letter(at: int, number: int) -> Letter:
    when = at - 9 * _MINUTE + number * 61_000
    error = ErrorObject(kind="rejected", message="the account is closed", retryable=False, code=-32010)
    return Letter(
        letter_id=str(17 + number),
        integration="ledger",
        route="to_ledger",
        operation="request",
        idempotency_key=f"order-{7100 + number}",
        accepted_ms=when - 800,
        at=when,
        error=error,
        unknown=number == 2,
        attempts=1,
        history=(FailedAttempt(at=when - 700, duration_ms=41.5, error=error),),
        event=LetterEvent(
            id=88_000 + number,
            event_type="order.paid",
            payload={"order": 7100 + number, "total": 129.5, "items": [{"article": "A-17", "pieces": 2}]},
            timestamp=when - 900,
            source="checkout",
            correlation_id=f"order-{7100 + number}",
            headers=None,
        ),
    )


def inspection(at: int, name: str = "ledger") -> Inspection:
    """Return all that is known of one integration of the overview."""
    all_of = overview(at)
    row = next(one for one in all_of.integrations if one.integration == name)
    opened = at - 11 * _MINUTE
    error = row.error
    moments = [CircuitMoment(at=opened, state=CircuitState.OPEN, error=error)]
    for number in range(1, 11):
        moments.append(CircuitMoment(at=opened + number * _MINUTE - 2_000, state=CircuitState.HALF_OPEN, error=None))
        moments.append(CircuitMoment(at=opened + number * _MINUTE, state=CircuitState.OPEN, error=error))
    unwell = row.circuit is not CircuitState.CLOSED
    return Inspection(
        at=at,
        row=row,
        health=IntegrationHealth(
            integration=row.integration,
            type=row.type,
            status=row.status,
            previous=ConnectionStatus.CONNECTED,
            since=row.since,
            circuit=row.circuit,
            latency_ms=1.9,
            in_flight=row.in_flight,
            queued=row.queued + row.pending,
            error=row.error,
            accounting=Accounting(
                accepted=214_920,
                succeeded=211_870,
                failed=1_202,
                dead_lettered=3,
                expired=0,
                shed=5,
                in_flight=row.in_flight,
                queued=1_840 - row.in_flight,
            ),
            messages=0,
            dropped=row.dropped,
            reconnects=2,
            warnings=["credentials are sent in the clear: use https"],
            subscriptions={},
        ),
        attempts=219_870,
        retries=6_590,
        failures={"not_connected": 1_180, "timeout": 22, "rejected": 3},
        durations={
            "request": [
                Bucket(up_to_ms=limit, count=share * 2_130) for limit, share in zip(_LIMITS, _SHARES, strict=True)
            ]
        },
        failed=[_failed(at, number) for number in range(50)] if unwell else [],
        circuit=list(reversed(moments)) if unwell else [],
        routes=[one for one in all_of.routes if one.integration == name],
        subscriptions=[
            LiveSubscription(
                subscription="corrections",
                topic="ledger.corrections",
                queue=False,
                emit="ledger.corrected",
                messages=12,
                asked=Asked(source="back_office", timestamp=at - 3 * 60 * _MINUTE),
            )
        ],
        dead_letters=[_letter(at, number) for number in range(row.dead_letters)] if name == "ledger" else [],
        configuration={
            "type": row.type,
            "endpoint": {"url": "http://ledger.plant.example:8080/rpc"},
            "auth": {"token": "***"},
            "resilience": {
                "timeout": "5s",
                "retry": {"max_attempts": 4, "backoff": "exponential", "initial_delay": "250ms"},
                "circuit_breaker": {"failure_threshold": 5, "success_threshold": 2, "timeout": "58s"},
            },
        },
    )


def large(at: int, number: int) -> Overview:
    """Return an overview with `number` integrations, all busy; every hundredth is down."""
    generator = random.Random(1)
    rows = []
    for one in range(number):
        down = one % 100 == 0
        rows.append(
            _row(
                f"remote-{one:04}",
                ("json-rpc", "mqtt", "nats")[one % 3],
                at,
                status=ConnectionStatus.DISCONNECTED if down else ConnectionStatus.CONNECTED,
                error=_error("not_connected", "connection refused") if down else None,
                rates=Rates(10.0, 0.0, 0.0, 4.0, 9.0),
                series=_series(generator, at, 10.0, 0.0, 8 if down else None),
            )
        )
    rows.sort(key=lambda row: row.status is ConnectionStatus.CONNECTED)
    names = [row.integration for row in rows if row.status is not ConnectionStatus.CONNECTED]
    return msgspec.structs.replace(
        overview(at),
        integrations=rows,
        problems=[
            Problem("disconnected", "error", "disconnected: not_connected: connection refused", at - _MINUTE, names)
        ],
        routes=[
            RouteRow(
                route=f"route-{row.integration}",
                on=["order.*"],
                integration=row.integration,
                operation="request",
                durable=False,
                succeeded=10,
                failed=0,
                rate=10.0,
            )
            for row in rows
        ],
        subscriptions=[],
        rates=Rates(10.0 * number, 0.0, 0.0, 4.0, 9.0),
        series=_together(rows, at),
    )


def hostile(at: int, text: str) -> tuple[Overview, Inspection]:
    """Return both views with `text` wherever a remote, a program or a file can put some."""
    error = ErrorObject(kind="rejected", message=text, retryable=False, code=text, data=text)
    attempt = FailedAttempt(at=at - 10, duration_ms=1.0, error=error)
    cause = Cause(source=text, id=1, event_type=text)
    row = _row(text, text, at, status=ConnectionStatus.FAILED, circuit=CircuitState.OPEN, error=error, unwell=1)
    base, known = overview(at), inspection(at)
    route = RouteRow(
        route=text, on=[text], integration=text, operation=text, durable=True, succeeded=1, failed=1, rate=1.0
    )
    listed = SubscriptionRow(integration=text, subscription=text, topic=text, emit=text, messages=1, rate=1.0)
    seen = msgspec.structs.replace(
        base,
        bridge=msgspec.structs.replace(base.bridge, name=text, integrations={text: row.status}),
        problems=[Problem("failed", "error", text, at, [text])],
        integrations=[row],
        routes=[route],
        subscriptions=[listed],
    )
    letter = msgspec.structs.replace(
        _letter(at, 0),
        letter_id=text,
        route=text,
        operation=text,
        idempotency_key=text,
        error=error,
        history=(attempt,),
        event=LetterEvent(
            id=1,
            event_type=text,
            payload={text: text},
            timestamp=at,
            source=text,
            correlation_id=text,
            headers={text: text},
        ),
    )
    failed = FailedOperation(
        at=at,
        operation=text,
        route=text,
        cause=cause,
        correlation_id=text,
        traceparent=text,
        durable=True,
        attempts=1,
        duration_ms=1.0,
        error=error,
        history=[attempt],
    )
    inspected = msgspec.structs.replace(
        known,
        row=row,
        health=msgspec.structs.replace(
            known.health,
            integration=text,
            type=text,
            error=error,
            warnings=[text],
            subscriptions={text: SubscriptionHealth(status="failed", error=error)},
        ),
        failures={text: 1},
        durations={text: [Bucket(up_to_ms=1.0, count=1)]},
        failed=[failed],
        circuit=[CircuitMoment(at=at, state=CircuitState.OPEN, error=error)],
        routes=[route],
        subscriptions=[
            LiveSubscription(
                subscription=text, topic=text, queue=True, emit=text, messages=1, asked=Asked(source=text, timestamp=at)
            )
        ],
        dead_letters=[letter],
        configuration={text: {text: text, "token": "***"}},
    )
    return seen, inspected


def event(at: int, number: int, event_type: str, payload: Any, **more: Any) -> dict[str, Any]:
    """Return an event as the tap gets it."""
    return {
        "at": at,
        "event_type": event_type,
        "source": "plant-7",
        "id": number,
        "correlation_id": None,
        "headers": None,
        "payload": payload,
        "cut": False,
        "bytes": 90 + len(json.dumps(payload)),
    } | more


def story(at: int, key: str = "order-7101") -> list[dict[str, Any]]:
    """Return the events of one order between others: the order, a call with retries, its answer, a receipt."""
    error = {"kind": "timeout", "message": "no answer within 400 ms", "retryable": True}
    cause = {"source": "checkout", "id": 88_121, "event_type": "order.paid"}
    head = {"integration": "shop", "operation": "request", "cause": cause}
    one = {"correlation_id": key}
    order = {
        "order": 7101,
        "total": 129.5,
        "items": [{"article": "A-17", "pieces": 2}, {"article": "C-3", "pieces": 1}],
    }
    moved = {"machine": "press-3", "state": "running", "pieces": 1204, "oil": {"bar": 4.1, "celsius": 61.5}}
    found = (
        (0, "machine.state", moved, {"source": "plant-7"}),
        (
            41,
            "order.paid",
            order,
            one | {"source": "checkout", "headers": {"idempotency_key": "order-7101", "seq": "412"}},
        ),
        (150, "rate.changed", {"pair": "EUR/CHF", "rate": 0.9412}, {}),
        (460, "resilience.shop.retry", head | {"attempt": 1, "max_attempts": 4, "delay_ms": 250, "error": error}, one),
        (512, "machine.state", moved | {"machine": "press-4", "pieces": 87}, {}),
        (1130, "resilience.shop.retry", head | {"attempt": 2, "max_attempts": 4, "delay_ms": 500, "error": error}, one),
        (1388, "health.ledger", {"integration": "ledger", "status": "disconnected", "circuit": "open"}, {}),
        (
            1702,
            "response.order.paid",
            {"ok": True, "result": {"number": 40_112}, "attempts": 3, "duration_ms": 1661.0, "route": "orders_to_shop"},
            one,
        ),
        (1703, "order.booked", {"number": 40_112}, one),
        (
            1705,
            "receipt.shop.delivered",
            {
                "integration": "shop",
                "operation": "request",
                "idempotency_key": "order-7101",
                "cause": cause,
                "attempts": 3,
            },
            one,
        ),
        (1841, "rate.changed", {"pair": "EUR/USD", "rate": 1.0831}, {}),
        (
            1902,
            "message.scales",
            {"topic": "scales/2/weight", "message": {"$bytes": "AAECAwQFBgc="}, "headers": {}},
            {},
        ),
    )
    return [
        event(at + after, number, kind, payload, **more)
        for number, (after, kind, payload, more) in enumerate(found, start=88_121)
    ]
