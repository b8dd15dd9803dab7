"""Encode calls and read responses of JSON-RPC 2.0 (jsonrpc.org/specification), strictly."""

import asyncio
from typing import Any, Final

import msgspec

from bridge.adapters._common import json
from bridge.adapters._common.http.message import Response
from bridge.adapters._common.http.status import credentials_error, status_error, wait_error
from bridge.core.errors import BridgeError, InvalidError, ProtocolError, RejectedError

CallId = int | str
#: The largest number of calls in one array.
MAX_BATCH: Final = 64


class RequestObject(msgspec.Struct, frozen=True):
    """A request object; without an id it is a notification."""

    method: str
    params: Any = msgspec.UNSET
    id: CallId | msgspec.UnsetType = msgspec.UNSET
    jsonrpc: str = "2.0"


class ResponseObject(msgspec.Struct, frozen=True):
    """A response object as the server sent it: each member may be missing or of any type."""

    jsonrpc: Any = msgspec.UNSET
    id: Any = msgspec.UNSET
    result: Any = msgspec.UNSET
    error: Any = msgspec.UNSET


class ServerObject(ResponseObject, frozen=True):
    """An object that a server sends over a WebSocket: a response; with a method a notification, or a request."""

    method: Any = msgspec.UNSET
    params: Any = msgspec.UNSET


_ONE: Final = msgspec.json.Decoder(ResponseObject)
_MANY: Final = msgspec.json.Decoder(list[ResponseObject] | ResponseObject)
_SERVER_OBJECTS: Final = msgspec.json.Decoder(list[ServerObject] | ServerObject)
#: Error code of a method that is not there (specification, section 5.1).
_NO_METHOD: Final = -32601


def encode_call(method: str, params: Any, call_id: CallId | None) -> bytes:
    """Encode one request object; `call_id` None makes a notification.

    Raises:
        InvalidError: `params` is neither an object nor an array, or holds what JSON cannot carry.
    """
    if params is not msgspec.UNSET:
        if not isinstance(params, dict | list | tuple):
            raise InvalidError("params: JSON-RPC takes an object (by name) or an array (by position), or none")
        json.check_value(params, "params")
    return json.encode_checked(RequestObject(method, params, msgspec.UNSET if call_id is None else call_id), "request")


def encode_batch(calls: list[bytes]) -> bytes:
    """Join encoded calls: one stays as it is, several become an array."""
    return calls[0] if len(calls) == 1 else b"[" + b",".join(calls) + b"]"


def result_of(answer: ResponseObject, call_id: CallId) -> Any:
    """Return the result in one response object, which must answer `call_id`.

    A `null` beside the other member is as if it were missing: many servers write both, as JSON-RPC 1.0 does.

    Raises:
        RejectedError: It has an error; with its code, message and data.
        ProtocolError: It is not as the specification requires; the message tells how.
    """
    result, error = answer.result, answer.error
    if answer.jsonrpc != "2.0":
        raise ProtocolError('the answer has not the member "jsonrpc": "2.0"')
    failed = error is not msgspec.UNSET and (error is not None or result is msgspec.UNSET)
    if failed and result is not msgspec.UNSET and result is not None:
        raise ProtocolError("the answer has both a result and an error")
    if not failed and result is msgspec.UNSET:
        raise ProtocolError("the answer has neither a result nor an error")
    # A server that could not read the request cannot know its id (specification, section 5).
    if not (failed and answer.id is None) and id_of(answer) != call_id:
        raise ProtocolError("the answer's id is not the request's")
    if failed:
        raise _rejection(error)
    return result


def id_of(answer: ResponseObject) -> CallId | None:
    """Return the id of a response; None where it is none of ours. 1.0 is 1: JSON has one type for both."""
    call_id = answer.id
    if type(call_id) is int or type(call_id) is str:
        return call_id
    return _integer(call_id)


def _integer(number: Any) -> int | None:
    return int(number) if type(number) is float and number.is_integer() else None


def _rejection(error: Any) -> RejectedError:
    code = error.get("code") if isinstance(error, dict) else None
    code = code if type(code) is int else _integer(code)
    if code is None or not isinstance(error.get("message"), str):
        raise ProtocolError("the answer's error object lacks a code or a message, or they are of the wrong type")
    return RejectedError(error["message"], code=code, data=error.get("data"))


def read_response(response: Response, call_id: CallId) -> Any:
    """Return the result in the HTTP response to a single request.

    In this order: a refusal of the credentials or a `Retry-After` decides, whatever the body; then a JSON-RPC error,
    whatever the status; then the status.

    Raises:
        BridgeError: As in the bus contract, "Commands".
    """
    if response.status == 200:
        return result_of(_parse_one(response), call_id)
    error = credentials_error(response) or wait_error(response)
    if error is not None:
        raise error
    if 200 <= response.status < 300:
        return result_of(_parse_one(response), call_id)
    raise _error_object(response) or _status_error(response)


def check_accepted(response: Response) -> None:
    """Check that the server accepted a notification: any 2xx will do, whatever its body.

    Raises the errors of `read_response`.
    """
    if 200 <= response.status < 300:
        return
    error = credentials_error(response) or wait_error(response)
    raise error or _error_object(response) or _status_error(response)


def _status_error(response: Response) -> BridgeError:
    return status_error(response) or ProtocolError(f"HTTP {response.status} is not an answer")


def _error_object(response: Response) -> RejectedError | None:
    """Return the JSON-RPC error in a response whose status is an error; None where the body holds none."""
    try:
        answer = _parse_one(response)
        if answer.jsonrpc != "2.0" or answer.error is msgspec.UNSET or answer.error is None:
            return None
        return _rejection(answer.error)
    except ProtocolError:
        return None


def _parse_one(response: Response) -> ResponseObject:
    name = "the answer" if response.status == 200 else f"the answer (HTTP {response.status})"
    answer: ResponseObject = json.parse(response.body, _ONE, name)
    if json.needs_check(response.body):
        _check(answer)
    return answer


def _check(answer: ResponseObject) -> None:
    if answer.result is not msgspec.UNSET:
        json.check_answer(answer.result, "result")
    if answer.error is not msgspec.UNSET:
        json.check_answer(answer.error, "error")


def read_batch_response(response: Response, call_ids: list[CallId]) -> dict[CallId, Any]:
    """Return the outcomes in the HTTP response to a batch: for each id a result, or a BridgeError (not raised).

    The response objects may come in any order. A call that has none, or several, has failed with ProtocolError. One
    error object in place of the array is the error of all calls.

    Raises:
        BridgeError: The response answers none of the calls.
    """
    error = credentials_error(response) or wait_error(response)
    if error is not None:
        raise error
    try:
        answers: list[ResponseObject] | ResponseObject = json.parse(response.body, _MANY, "the answer to the batch")
    except ProtocolError as unreadable:
        raise status_error(response) or unreadable from None
    if isinstance(answers, ResponseObject):
        raise (
            _error_object(response)
            or status_error(response)
            or ProtocolError("the answer to the batch is not an array")
        )
    outcomes: dict[CallId, Any] = {}
    known = set(call_ids)
    doubtful = json.needs_check(response.body)
    for answer in answers:
        call_id = id_of(answer)
        if call_id is not None and call_id in known:
            outcomes[call_id] = (
                ProtocolError("the answer to the batch has this call twice")
                if call_id in outcomes
                else _outcome(answer, call_id, doubtful=doubtful)
            )
    for call_id in known - outcomes.keys():
        outcomes[call_id] = ProtocolError("the answer to the batch leaves this call out")
    return outcomes


def _outcome(answer: ResponseObject, call_id: CallId, *, doubtful: bool) -> Any:
    try:
        if doubtful:
            _check(answer)
        return result_of(answer, call_id)
    except BridgeError as error:
        return error


def read_server_objects(data: bytes) -> list[ServerObject]:
    """Return the objects in one WebSocket message; the bus can carry what they hold.

    Raises:
        ProtocolError: The message is not a JSON object or an array of objects, or holds what the bus cannot carry.
    """
    found: list[ServerObject] | ServerObject = json.parse(data, _SERVER_OBJECTS, "the message")
    objects = found if isinstance(found, list) else [found]
    if json.needs_check(data):
        for one in objects:
            _check(one)
            if one.params is not msgspec.UNSET:
                json.check_answer(one.params, "params")
    return objects


def method_not_found(call_id: Any) -> bytes:
    """Encode the response to a request of the server: a client has no methods."""
    error = {"code": _NO_METHOD, "message": "this client has no methods"}
    return msgspec.json.encode({"jsonrpc": "2.0", "error": error, "id": call_id})


def set_outcome(future: asyncio.Future[Any], outcome: Any) -> None:
    """Give a future the result, or the BridgeError as its exception, unless nobody waits for it any more."""
    if future.done():
        return
    if isinstance(outcome, BridgeError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
