"""The demo service keeps to the specification itself, so that what is tested against it means something."""

import json
from typing import Any

import pytest

from bridge.cli.demo_service import Service


def answer(body: Any, service: Service | None = None) -> tuple[int, Any]:
    """HTTP status and JSON body of the service's answer."""
    raw, _ = (service or Service()).answer(body if isinstance(body, bytes) else json.dumps(body).encode())
    head, _, payload = raw.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(payload) if payload else None


def call(method: str, params: Any = None, call_id: Any = 1) -> dict[str, Any]:
    """A request object."""
    return {"jsonrpc": "2.0", "method": method, "id": call_id} | ({} if params is None else {"params": params})


@pytest.mark.parametrize(
    ("method", "params", "result"),
    [
        ("echo", {"a": [1]}, {"a": [1]}),
        ("add", [1, 2], 3),
        ("add", {"a": 1, "b": 2}, 3),
        ("orders.create", {"id": "a", "total": 2}, {"id": "a", "total": 2, "status": "created", "number": 0}),
        ("orders.get", {"id": "none"}, None),
        ("count", None, 1),
    ],
)
def test_methods(method: str, params: Any, result: Any) -> None:
    """What each returns."""
    assert answer(call(method, params)) == (200, {"jsonrpc": "2.0", "result": result, "id": 1})


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"\xff", -32700),
        ([], -32600),
        (1, -32600),
        ({"jsonrpc": "1.0", "method": "echo", "id": 1}, -32600),
        (call("echo", "scalar"), -32600),
        (call("no.such"), -32601),
        (call("add", ["a"]), -32602),
        (call("sleep", {"ms": "x"}), -32602),
        (call("fail", {"code": 5}), 5),
    ],
)
def test_errors_by_the_specification(body: Any, code: int) -> None:
    """The pre-defined codes, and one of the method's own."""
    status, reply = answer(body)
    assert (status, reply["error"]["code"]) == (200, code)


def test_batches_and_notifications() -> None:
    """Answers for calls only, an empty body where there are none."""
    note = {"jsonrpc": "2.0", "method": "echo"}
    _, replies = answer([call("echo", [1], 1), note, 1, call("no.such", None, 2)])
    assert [reply.get("id") for reply in replies] == [1, None, 2]
    assert answer([note, note]) == (204, None)
    assert answer(note) == (204, None)


def test_a_status_of_choice() -> None:
    """For tests of what clients make of it."""
    assert answer(call("http", {"status": 429, "retry_after": 3})) == (429, None)
