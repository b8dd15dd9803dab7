"""JSON-RPC 2.0 (jsonrpc.org/specification) as bytes: calls out, answers in, strictly."""

import asyncio
from typing import Any, Final

import msgspec

from bridge.adapters._common import json
from bridge.adapters._common.http.message import Response
from bridge.adapters._common.http.status import credentials_error, status_error, wait_error
from bridge.core.errors import BridgeError, InvalidError, ProtocolError, RejectedError

CallId = int | str
#: Calls in one array.
MAX_BATCH: Final = 64


class Call(msgspec.Struct, frozen=True):
    """A request object; without an id it is a notification."""

    method: str
    params: Any = msgspec.UNSET
    id: CallId | msgspec.UnsetType = msgspec.UNSET
    jsonrpc: str = "2.0"


class Answer(msgspec.Struct, frozen=True):
    """A response object, as it came: each member may be missing or of any type."""

    jsonrpc: Any = msgspec.UNSET
    id: Any = msgspec.UNSET
    result: Any = msgspec.UNSET
    error: Any = msgspec.UNSET


class Message(Answer, frozen=True):
    """What a server sends by itself: a response, or with a method a notification or a request of its own."""

    method: Any = msgspec.UNSET
    params: Any = msgspec.UNSET


_ONE: Final = msgspec.json.Decoder(Answer)
_MANY: Final = msgspec.json.Decoder(list[Answer] | Answer)
_MESSAGES: Final = msgspec.json.Decoder(list[Message] | Message)
#: Error code of a method that is not there (specification, section 5.1).
_NO_METHOD: Final = -32601


def encode_call(method: str, params: Any, call_id: CallId | None) -> bytes:
    """One request object; `call_id` None makes a notification.

    Raises:
        InvalidError: `params` is neither an object nor an array, or holds what JSON cannot carry.
    """
    if params is not msgspec.UNSET:
        if not isinstance(params, dict | list | tuple):
            raise InvalidError("params: JSON-RPC takes an object (by name) or an array (by position), or none")
        json.check_value(params, "params")
    return json.encode(Call(method, params, msgspec.UNSET if call_id is None else call_id), "request")


def encode_batch(calls: list[bytes]) -> bytes:
    """One call as it is, several as an array."""
    return calls[0] if len(calls) == 1 else b"[" + b",".join(calls) + b"]"


def result_of(answer: Answer, call_id: CallId) -> Any:
    """The result in one response object.

    Raises:
        RejectedError: It is an error object; code, message and data as sent.
        ProtocolError: It breaks the specification; the message says how.
    """
    failed = answer.error is not msgspec.UNSET
    if answer.jsonrpc != "2.0":
        raise ProtocolError('the answer has not the member "jsonrpc": "2.0"')
    if failed and answer.result is not msgspec.UNSET:
        raise ProtocolError("the answer has both a result and an error")
    if not failed and answer.result is msgspec.UNSET:
        raise ProtocolError("the answer has neither a result nor an error")
    # A server that could not read the request cannot know its id (specification, section 5).
    if not (failed and answer.id is None) and (type(answer.id) is not type(call_id) or answer.id != call_id):
        raise ProtocolError("the answer's id is not the request's")
    if failed:
        raise _rejection(answer.error)
    return answer.result


def _rejection(error: Any) -> RejectedError:
    if not isinstance(error, dict) or type(error.get("code")) is not int or not isinstance(error.get("message"), str):
        raise ProtocolError("the answer's error object lacks a code or a message, or they are of the wrong type")
    return RejectedError(error["message"], code=error["code"], data=error.get("data"))


def read_answer(response: Response, call_id: CallId) -> Any:
    """The result in the HTTP response to a single request.

    The credentials' refusal and a `Retry-After` count whatever the body says; then a JSON-RPC error, whatever the
    status; then the status.

    Raises:
        BridgeError: As the contract's table has it.
    """
    if response.status == 200:
        return result_of(_parse_one(response), call_id)
    error = credentials_error(response) or wait_error(response)
    if error is not None:
        raise error
    if 200 <= response.status < 300:
        return result_of(_parse_one(response), call_id)
    raise _error_object(response) or _status_error(response)


def check_taken(response: Response) -> None:
    """See that the server took a notification: any 2xx will do, whatever its body; else raises like `read_answer`."""
    if 200 <= response.status < 300:
        return
    error = credentials_error(response) or wait_error(response)
    raise error or _error_object(response) or _status_error(response)


def _status_error(response: Response) -> BridgeError:
    return status_error(response) or ProtocolError(f"HTTP {response.status} is no answer")


def _error_object(response: Response) -> RejectedError | None:
    """The JSON-RPC error in a response whose status is an error itself, if there is one."""
    try:
        answer = _parse_one(response)
        if answer.jsonrpc != "2.0" or answer.error is msgspec.UNSET:
            return None
        return _rejection(answer.error)
    except ProtocolError:
        return None


def _parse_one(response: Response) -> Answer:
    name = "the answer" if response.status == 200 else f"the answer (HTTP {response.status})"
    answer: Answer = json.parse(response.body, _ONE, name)
    if json.may_not_fit(response.body):
        _check(answer)
    return answer


def _check(answer: Answer) -> None:
    if answer.result is not msgspec.UNSET:
        json.check_answer(answer.result, "result")
    if answer.error is not msgspec.UNSET:
        json.check_answer(answer.error, "error")


def read_answers(response: Response, call_ids: list[CallId]) -> dict[CallId, Any]:
    """The outcomes in the HTTP response to a batch: for each id a result, or a BridgeError (not raised).

    Answers come in any order. A call that the answer leaves out, or has twice, has failed with ProtocolError. One
    error object in place of the array is everybody's.

    Raises:
        BridgeError: The response is no answer to any of the calls.
    """
    error = credentials_error(response) or wait_error(response)
    if error is not None:
        raise error
    try:
        answers: list[Answer] | Answer = json.parse(response.body, _MANY, "the answer to the batch")
    except ProtocolError as unreadable:
        raise status_error(response) or unreadable from None
    if isinstance(answers, Answer):
        raise (
            _error_object(response)
            or status_error(response)
            or ProtocolError("the answer to the batch is not an array")
        )
    outcomes: dict[CallId, Any] = {}
    known = set(call_ids)
    doubtful = json.may_not_fit(response.body)
    for answer in answers:
        call_id = answer.id
        if type(call_id) in {int, str} and call_id in known:
            outcomes[call_id] = (
                ProtocolError("the answer to the batch has this call twice")
                if call_id in outcomes
                else _outcome(answer, call_id, doubtful=doubtful)
            )
    for call_id in known - outcomes.keys():
        outcomes[call_id] = ProtocolError("the answer to the batch leaves this call out")
    return outcomes


def _outcome(answer: Answer, call_id: CallId, *, doubtful: bool) -> Any:
    try:
        if doubtful:
            _check(answer)
        return result_of(answer, call_id)
    except BridgeError as error:
        return error


def read_messages(data: bytes) -> list[Message]:
    """What one message of a session holds, each checked to fit onto the bus.

    Raises:
        ProtocolError: It is no JSON object or array of such, or holds what the bus cannot carry.
    """
    found: list[Message] | Message = json.parse(data, _MESSAGES, "the message")
    messages = found if isinstance(found, list) else [found]
    if json.may_not_fit(data):
        for message in messages:
            _check(message)
            if message.params is not msgspec.UNSET:
                json.check_answer(message.params, "params")
    return messages


def refusal(call_id: Any) -> bytes:
    """The answer to a server's own request: there is no method here."""
    error = {"code": _NO_METHOD, "message": "this client has no methods"}
    return msgspec.json.encode({"jsonrpc": "2.0", "error": error, "id": call_id})


def settle(future: asyncio.Future[Any], outcome: Any) -> None:
    """Give a caller the result, or the BridgeError, unless it has left."""
    if future.done():
        return
    if isinstance(outcome, BridgeError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
