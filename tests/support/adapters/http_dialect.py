"""Translate the contract suite's calls to the HTTP requests of `http_service`, because HTTP has paths, not methods."""

from typing import Any

import msgspec
from msgspec import UNSET

from bridge.adapters.http import SPEC as HTTP
from bridge.adapters.http.adapter import HttpAdapter
from bridge.core.errors import RejectedError
from bridge.core.model import Request
from bridge.core.ports import Context


class HttpDialect(HttpAdapter):
    """`echo` is `POST /echo` with the params as body, and the result is the answer's body."""

    async def request(self, command: Request, context: Context) -> Any:
        body = {} if command.params is UNSET else {"body": command.params}
        path = f"POST /notify/{command.method}" if command.notify else f"POST /{command.method}"
        try:
            result = await super().request(Request(method=path, params=body, notify=command.notify), context)
        except RejectedError as refused:
            if refused.code != 422:
                raise
            said = refused.data
            raise RejectedError(said["message"], code=said["code"], data=said["data"]) from None
        return None if command.notify else result["body"]


SPEC = msgspec.structs.replace(HTTP, create=HttpDialect)
