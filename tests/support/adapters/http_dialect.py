"""HTTP has paths, not methods: the contract suite's calls, said as the requests that `http_service` knows."""

from dataclasses import replace
from typing import Any

from msgspec import UNSET

from bridge.adapters.http import SPEC as HTTP
from bridge.adapters.http.adapter import HttpAdapter
from bridge.core.errors import RejectedError
from bridge.core.ports import NO_CONTEXT, Context


class HttpDialect(HttpAdapter):
    """`echo` is `POST /echo` with the params as body, and the result is the answer's body."""

    async def request(self, method: str, params: Any, *, notify: bool = False, context: Context = NO_CONTEXT) -> Any:
        body = {} if params is UNSET else {"body": params}
        path = f"POST /notify/{method}" if notify else f"POST /{method}"
        try:
            result = await super().request(path, body, notify=notify, context=context)
        except RejectedError as refused:
            if refused.code != 422:
                raise
            said = refused.data
            raise RejectedError(said["message"], code=said["code"], data=said["data"]) from None
        return None if notify else result["body"]


SPEC = replace(HTTP, create=HttpDialect)
