"""Answer calls and requests as a stand-in for one remote of a configuration. It opens no sockets."""

import json
import threading
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import msgspec

from bridge.cli.demo_service import Service
from bridge.config import Integration
from bridge.config.compiler import placeholder
from bridge.core.endpoint import AuthBasic, AuthBearer
from bridge.core.printable import printable
from bridge.core.redaction import Redactor

#: Seconds between two server-sent events, or two notifications.
PERIOD: Final = 5.0
#: Characters of a request or an answer that a line shows; and those in which secrets are looked for before.
_SHOWN: Final = 200
_SEARCHED: Final = 2000
#: What a line calls the schemes of `Authorization`.
_KINDS: Final = {"bearer": "bearer token", "basic": "user name and password"}


class Received(msgspec.Struct, frozen=True):
    """One HTTP request.

    Attributes:
        method: HTTP's method.
        target: Path and query.
        body: The whole body.
        accept: The header `Accept`.
        authorization: The header `Authorization`; None without one.
    """

    method: str
    target: str
    body: bytes = b""
    accept: str = ""
    authorization: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """What is answered.

    Attributes:
        status: HTTP's status.
        body: A JSON value; UNSET for no body.
        delay: Seconds to wait before it is sent.
        lines: What a person is shown, without secrets and control characters.
        stream: Whether server-sent events follow in place of the body, until the client leaves.
    """

    status: int
    body: Any = msgspec.UNSET
    delay: float = 0.0
    lines: tuple[str, ...] = ()
    stream: bool = False


class Behaviour(msgspec.Struct):
    """How a stand-in answers.

    Attributes:
        fails: How many of the next calls fail; None: all.
        delay: Seconds before each answer.
        answer: The result of each call, or the body of each HTTP answer; UNSET for one that fits the request.
    """

    fails: int | None = 0
    delay: float = 0.0
    answer: Any = msgspec.UNSET


@dataclass(slots=True)
class MockRemote:
    """The stand-in for one integration. Its methods may be called from several threads.

    Attributes:
        integration: The integration.
        path: The path of its endpoint.
        behaviour: How it answers.
        redactor: Removes the configuration's secrets from what is shown.
        notifications: Methods of which it sends notifications, over WebSocket.
        moved: Whether it listens elsewhere than where the endpoint is.
        number: How many calls it has had.
    """

    integration: Integration
    path: str
    behaviour: Behaviour = field(default_factory=Behaviour)
    redactor: Redactor = field(default_factory=Redactor)
    notifications: tuple[str, ...] = ()
    moved: bool = False
    number: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def name(self) -> str:
        """The integration's label."""
        return self.integration.id

    @property
    def speaks_json_rpc(self) -> bool:
        """Whether it speaks JSON-RPC, and not plain HTTP."""
        return self.integration.type == "json-rpc"

    def serves(self, path: str) -> bool:
        """Return whether a path belongs to this remote: the endpoint's own; with plain HTTP also those below it."""
        own, path = self._own_path, unquote(path)
        return path.rstrip("/") == own or (not self.speaks_json_rpc and path.startswith(f"{own}/"))

    @property
    def _own_path(self) -> str:
        return unquote(self.path).rstrip("/")

    def next_number(self) -> int:
        """Count one more call, and return how many there were."""
        with self._lock:
            self.number += 1
            return self.number

    def respond(self, request: Received) -> Answer:
        """Answer one HTTP request."""
        if not self.speaks_json_rpc:
            answer = self._respond_http(request)
        elif request.method == "POST":
            answer = self.call(request.body)
        elif request.method in {"GET", "HEAD"}:  # the bridge's health check, or a browser
            about = {"stands_in_for": self.name, "calls": self.number}
            answer = Answer(200, about, lines=(f"{request.method} {self.shown(request.target)} → 200",))
        else:
            answer = Answer(405, lines=(f"{request.method} {self.shown(request.target)} → 405, JSON-RPC takes POST",))
        proof = self.credentials(request.authorization)
        return (
            msgspec.structs.replace(answer, lines=tuple(f"{line}  ({proof})" for line in answer.lines))
            if proof
            else answer
        )

    def call(self, body: bytes) -> Answer:
        """Answer a JSON-RPC request or batch. Status 503 without a body where the person wants it to fail."""
        why = self._failure()
        calls = _Calls(self)
        replies, _, _ = calls.reply(body)
        listed = replies if isinstance(replies, list) else [] if replies is None else [replies]
        lines = []
        for method, params, result in calls.made:
            outcome = why or ("no answer, a notification" if not listed else self._json(result))
            lines.append(f"{self.shown(method)} {'' if params is None else self._json(params)} → {outcome}")
        sent = self.shown(body[:_SEARCHED].decode("utf-8", "replace"))
        errors = [reply["error"] for reply in listed if "error" in reply]
        lines += [f"{sent} → {error['code']} {error['message']}" for error in errors]
        delay = self.behaviour.delay
        if why:
            return Answer(503, delay=delay, lines=tuple(lines))
        status, reply = (204, msgspec.UNSET) if replies is None else (200, replies)
        return Answer(status, reply, delay, tuple(lines))

    def result(self, params: Any) -> Any:
        """Return the result of one call: the parameters, and the number of the call."""
        number = self.next_number()
        if self.behaviour.answer is not msgspec.UNSET:
            return self.behaviour.answer
        named = params if isinstance(params, dict) else {} if params is None else {"params": params}
        return {**named, "number": number}

    def credentials(self, given: str | None) -> str:
        """Return what a line says of the header `Authorization`, without its value; nothing where none is needed."""
        match self.integration.auth:
            case AuthBearer(token=token):
                secret: str | None = token.get_secret_value()
                wanted = f"Bearer {secret}"
            case AuthBasic(username=username, password=password):
                secret = password.get_secret_value()
                pair = f"{username or ''}:{secret}"
                wanted = f"Basic {b64encode(pair.encode()).decode()}"
            case _:
                secret, wanted = None, ""
        if given is None:
            return "" if secret is None else "without credentials"
        kind = _KINDS.get(given.partition(" ")[0].lower(), "credentials")
        is_known = secret is not None and not secret.startswith(placeholder(""))
        return f"with another {kind} than the configuration's" if is_known and given != wanted else f"with {kind}"

    def _respond_http(self, request: Received) -> Answer:
        path, _, query = request.target.partition("?")
        path = unquote(path)[len(self._own_path) :] or "/"
        what = f"{request.method} {self.shown(request.target)}"
        # The model is the adapter's own, which nothing but its entry point may import.
        config: Any = self.integration.config
        if path == _path(config.events) and "text/event-stream" in request.accept:
            return Answer(200, lines=(f"{what} → events, one each {PERIOD:g} s",), stream=True)
        polled = config.poll is not None and path == (_path(config.path) or "/")
        is_check = request.method == "GET" and path == (_path(config.health_path) or "/") and not polled
        # A number of failures is meant for calls; a remote that always fails is not healthy either.
        why = None if is_check and self.behaviour.fails is not None else self._failure()
        delay = self.behaviour.delay
        if why:
            return Answer(503, {"error": "told to fail"}, delay, (f"{what} → {why}",))
        if is_check:
            return Answer(200, {"status": "ok"}, delay, (f"{what} → 200",))
        given = _value(request.body)
        if request.body:
            what = f"{what} {self._json(given)}"
        else:
            given = {"method": request.method, "path": path, "query": dict(parse_qsl(query, keep_blank_values=True))}
        body = self.result(given)
        return Answer(200, body, delay, (f"{what} → 200 {self._json(body)}",))

    def _failure(self) -> str | None:
        """Return what a line says of a call that is to fail, and count it; None where it is to succeed."""
        with self._lock:
            if self.behaviour.fails is None:
                return "503, as told"
            if self.behaviour.fails == 0:
                return None
            self.behaviour.fails -= 1
            return f"503, as told; {self.behaviour.fails} more"

    def _json(self, value: Any) -> str:
        return self.shown(json.dumps(value, ensure_ascii=False))

    def shown(self, text: str) -> str:
        """Return the beginning of a text as one line without secrets."""
        found = printable(self.redactor.text(text[:_SEARCHED]))
        return found if len(found) <= _SHOWN else f"{found[:_SHOWN]} …"


class _Calls(Service):
    """Make the calls of one request body, and remember them for the person."""

    def __init__(self, remote: MockRemote) -> None:
        super().__init__()
        self._remote = remote
        self.made: list[tuple[str, Any, Any]] = []

    def call(self, method: str, params: Any) -> tuple[Any, float, int]:
        """See `Service.call`; there is every method."""
        result = self._remote.result(params)
        self.made.append((method, params, result))
        return result, 0.0, 200


def _path(configured: str | None) -> str | None:
    """Return a path of the configuration as it is compared: not percent-encoded."""
    return None if configured is None else unquote(configured)


def _value(body: bytes) -> Any:
    """Return what a body holds: a JSON value, text, or how many bytes."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"bytes": len(body)}
