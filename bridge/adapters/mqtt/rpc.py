"""RPC over MQTT 5: request/response by response topic and correlation data (MQTT 5, section 4.10).

The method is the topic that the request is published to, `params` are its content. Whoever answers publishes to the
response topic with the same correlation data. MQTT has no form for an error, so this is ours: an answer with the user
property `error` is a refusal; `error` is its message, `code` its code, the content its data.
"""

import asyncio
import secrets
from itertools import count
from typing import Any, Final

from bridge.adapters._common.content import Codec
from bridge.adapters.mqtt.packets.message import IncomingMessage
from bridge.core.errors import BridgeError, ConnectionLostError, RejectedError

ERROR: Final = "error"
CODE: Final = "code"


class PendingRequests:
    """The requests of one session that wait for their answers.

    Answers to requests of an earlier session, and second answers, are ignored.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._waiting: dict[bytes, asyncio.Future[Any]] = {}
        # So that no answer to an earlier session of the same client id is taken for one of this session's.
        self._prefix = secrets.token_bytes(8)
        self._numbers = count(1)

    def add(self) -> tuple[bytes, asyncio.Future[Any]]:
        """Return correlation data for a new request, and its answer; the caller calls `forget` in the end."""
        correlation = self._prefix + next(self._numbers).to_bytes(8, "big")
        future = self._waiting[correlation] = asyncio.get_running_loop().create_future()
        return correlation, future

    def forget(self, correlation: bytes) -> None:
        """Wait for the answer to a request no longer."""
        self._waiting.pop(correlation, None)

    def on_answer(self, message: IncomingMessage) -> None:
        """Take a message that came by the response topic, and settle the request that it answers."""
        future = self._waiting.pop(message.correlation, None)
        if future is None or future.done():
            return
        try:
            future.set_result(self._read(message))
        except BridgeError as error:
            future.set_exception(error)

    def _read(self, message: IncomingMessage) -> Any:
        content, headers = self._codec.decode(message.payload, message.content_type, "the answer"), message.headers
        if ERROR not in headers:
            return content
        code = headers.get(CODE)
        number = int(code) if code is not None and code.lstrip("-").isdecimal() and len(code) < 16 else code
        raise RejectedError(headers[ERROR], code=number, data=None if message.payload == b"" else content)

    def fail(self, error: BridgeError) -> None:
        """Fail all requests: no answer will come any more."""
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(ConnectionLostError(error.message, code=error.code))
                future.exception()  # whoever was to wait may have failed otherwise
