"""JSON-RPC 2.0 as bytes: calls, and each way in which a response can be wrong."""

import json
from typing import Any

import pytest
from msgspec import UNSET

from bridge.adapters._common.http.message import Response
from bridge.adapters.jsonrpc.wire import check_accepted, encode_call, read_batch_response, read_response
from bridge.core.errors import (
    AuthError,
    BridgeError,
    InvalidError,
    ProtocolError,
    RejectedError,
    ThrottledError,
    UnavailableError,
)


def response(body: Any, status: int = 200, **headers: str) -> Response:
    """Make an HTTP response; `body` is encoded as JSON, unless it is bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Response(status, pairs, raw, 0)


def answer(**members: Any) -> dict[str, Any]:
    """Make a response object for call 7."""
    return {"jsonrpc": "2.0", "id": 7, **members}


ERROR = {"code": -32000, "message": "no", "data": {"why": 1}}


@pytest.mark.parametrize(
    ("params", "call_id", "expected"),
    [
        (UNSET, 1, {"jsonrpc": "2.0", "method": "m", "id": 1}),
        ({"a": 1}, 2, {"jsonrpc": "2.0", "method": "m", "params": {"a": 1}, "id": 2}),
        ([1, 2], 3, {"jsonrpc": "2.0", "method": "m", "params": [1, 2], "id": 3}),
        ([], None, {"jsonrpc": "2.0", "method": "m", "params": []}),
    ],
)
def test_calls_as_the_specification_writes_them(params: Any, call_id: int | None, expected: Any) -> None:
    """Calls by name, by position, without params and without an id are as in the specification."""
    assert json.loads(encode_call("m", params, call_id)) == expected


@pytest.mark.parametrize("params", [None, 1, "text", True])
def test_params_are_structured(params: Any) -> None:
    """`params` that are neither an object nor an array are `invalid`."""
    with pytest.raises(InvalidError, match="params"):
        encode_call("m", params, 1)


@pytest.mark.parametrize("result", [None, 0, "", False, [], {"a": [1]}])
def test_a_result_of_any_type(result: Any) -> None:
    """A result may be of any type, also null or false."""
    assert read_response(response(answer(result=result)), 7) == result


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (answer(result=1, id=8), "id is not"),
        (answer(result=1, id="7"), "id is not"),
        (answer(result=1, id=None), "id is not"),
        ({"jsonrpc": "2.0", "result": 1}, "id is not"),
        (answer(result=1, error=ERROR), "both"),
        (answer(result=False, error=ERROR), "both"),
        (answer(), "neither"),
        (answer(result=1, jsonrpc="1.0"), "jsonrpc"),
        ({"id": 7, "result": 1}, "jsonrpc"),
        (answer(error=None), "error object"),
        (answer(result=None, error=0), "error object"),
        (answer(error="no"), "error object"),
        (answer(error={"code": "x", "message": "m"}), "error object"),
        (answer(error={"code": True, "message": "m"}), "error object"),
        (answer(error={"code": 1}), "error object"),
        ([answer(result=1)], "shape"),
        (17, "shape"),
        (b"", "empty"),
        (b"<!doctype html>", "HTML"),
        (answer(result=2**64), "64 bit"),
        (answer(error={"code": 1, "message": "m", "data": 2**70}), "64 bit"),
    ],
)
def test_an_answer_that_makes_no_sense(body: Any, complaint: str) -> None:
    """Each breach of the specification is a protocol error that names it."""
    with pytest.raises(ProtocolError, match=complaint):
        read_response(response(body), 7)


@pytest.mark.parametrize(
    "body",
    [
        answer(result=1, error=None),
        answer(result=1) | {"id": 7.0},
        b"\xef\xbb\xbf" + json.dumps(answer(result=1)).encode(),
    ],
    ids=["error-null", "id-7.0", "byte-order-mark"],
)
def test_what_servers_write_that_means_the_same(body: Any) -> None:
    """`error: null` beside a result, an id 7.0 for 7, and a byte-order mark do not hide the result, nor in a batch."""
    assert read_response(response(body), 7) == 1
    if isinstance(body, dict):
        assert read_batch_response(response([body, answer(result=2) | {"id": 8.0}]), [7, 8]) == {7: 1, 8: 2}


@pytest.mark.parametrize("error", [ERROR, ERROR | {"code": float(ERROR["code"])}], ids=["code", "code-as-float"])
@pytest.mark.parametrize("status", [200, 403, 500])
def test_a_null_result_beside_an_error(error: dict[str, Any], status: int) -> None:
    """`result: null` beside an error is an error, and a code with a decimal point is a code."""
    with pytest.raises(RejectedError) as caught:
        read_response(response(answer(result=None, error=error), status), 7)
    assert (caught.value.code, type(caught.value.code)) == (ERROR["code"], int)


@pytest.mark.parametrize("call_id", [True, 7.5, 1e308, "7", "7.0", [7], None, {}])
def test_ids_that_are_not_ours(call_id: Any) -> None:
    """An id of another type or value is not the request's."""
    with pytest.raises(ProtocolError, match="id"):
        read_response(response(answer(result=1) | {"id": call_id}), 1 if call_id is True else 7)


@pytest.mark.parametrize("code", [-32700, -32600, -32601, -32602, -32603, -32000, -32099, 1, 0])
@pytest.mark.parametrize("status", [200, 400, 404, 500, 503])
def test_every_error_code_is_a_rejection_whatever_the_status(code: int, status: int) -> None:
    """An error object gives code, message and data as sent, whatever the HTTP status."""
    with pytest.raises(RejectedError) as caught:
        read_response(response(answer(error={"code": code, "message": "no", "data": [1]}), status), 7)
    assert (caught.value.code, caught.value.message, caught.value.data) == (code, "no", [1])


def test_an_error_without_id_answers_a_single_call() -> None:
    """An error with id null answers a single call: the server could not read the request."""
    with pytest.raises(RejectedError) as caught:
        read_response(response({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "Parse error"}}), 7)
    assert caught.value.code == -32700


@pytest.mark.parametrize(
    ("status", "headers", "kind", "code"),
    [
        (301, {}, RejectedError, 301),
        (307, {"location": "http://elsewhere"}, RejectedError, 307),
        (401, {}, AuthError, 401),
        (403, {}, RejectedError, 403),
        (404, {}, RejectedError, 404),
        (408, {}, UnavailableError, 408),
        (408, {"retry_after": "3"}, ThrottledError, 408),
        (413, {}, RejectedError, 413),
        (421, {}, UnavailableError, 421),
        (429, {}, ThrottledError, 429),
        (429, {"retry_after": "3"}, ThrottledError, 429),
        (500, {}, UnavailableError, 500),
        (502, {}, UnavailableError, 502),
        (503, {}, UnavailableError, 503),
        (503, {"retry_after": "3"}, ThrottledError, 503),
        (204, {}, ProtocolError, None),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"detail": "x"}'])
def test_the_status_speaks_where_no_json_rpc_does(
    status: int, headers: dict[str, str], kind: type[BridgeError], code: int | None, body: bytes
) -> None:
    """Without JSON-RPC in the body the status decides, for a call, a notification and a batch alike."""
    with pytest.raises(kind) as caught:
        read_response(response(body, status, **headers), 7)
    assert caught.value.code == code
    assert caught.value.retry_after_ms == (3000 if "retry_after" in headers else None)
    with pytest.raises(kind):
        read_batch_response(response(body, status, **headers), [7, 8])
    if status != 204:
        with pytest.raises(kind):
            check_accepted(response(body, status, **headers))


@pytest.mark.parametrize(("status", "kind"), [(401, AuthError), (503, ThrottledError)])
def test_credentials_and_retry_after_win_over_a_json_rpc_error(status: int, kind: type[BridgeError]) -> None:
    """A refusal of credentials and a `Retry-After` come before a JSON-RPC error."""
    with pytest.raises(kind):
        read_response(response(answer(error=ERROR), status, retry_after="1"), 7)


@pytest.mark.parametrize(("status", "body"), [(200, b""), (202, b""), (204, b""), (200, b"whatever")])
def test_a_notification_is_taken_by_any_2xx(status: int, body: bytes) -> None:
    """A notification is accepted by any 2xx, whatever the body."""
    check_accepted(response(body, status))


def test_a_batch_in_any_order() -> None:
    """Responses of a batch are matched by id, in any order; each call succeeds or fails alone."""
    body = [
        {"jsonrpc": "2.0", "id": 3, "error": {"code": 5, "message": "no"}},
        {"jsonrpc": "2.0", "id": 1, "result": "one"},
        {"jsonrpc": "2.0", "id": 2, "result": 2**80},
        {"jsonrpc": "2.0", "id": 4, "result": 1, "error": ERROR},
        {"jsonrpc": "2.0", "id": 99, "result": "stray"},
        {"jsonrpc": "2.0", "id": 6, "result": 1},
        {"jsonrpc": "2.0", "id": 6, "result": 2},
    ]
    outcomes = read_batch_response(response(body), [1, 2, 3, 4, 5, 6])
    assert outcomes[1] == "one"
    assert isinstance(outcomes[2], ProtocolError)
    assert isinstance(outcomes[3], RejectedError)
    assert isinstance(outcomes[4], ProtocolError)
    assert "leaves this call out" in outcomes[5].message
    assert "twice" in outcomes[6].message
    assert outcomes.keys() == {1, 2, 3, 4, 5, 6}


def test_one_error_object_is_the_whole_batchs() -> None:
    """One error object in place of the array is the error of the whole batch."""
    with pytest.raises(RejectedError):
        read_batch_response(response({"jsonrpc": "2.0", "id": None, "error": ERROR}), [1, 2])


@pytest.mark.parametrize("body", [answer(result=1), 5, [5], b"", "text"])
def test_a_batch_answered_by_something_else(body: Any) -> None:
    """A body that is not an array of objects is a protocol error for the whole batch."""
    with pytest.raises(ProtocolError):
        read_batch_response(response(body), [7, 8])
