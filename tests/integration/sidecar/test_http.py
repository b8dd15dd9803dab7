"""An HTTP service through the whole sidecar, seen by an independent program."""

import base64
import json

from tests.support.servers.http_server import Received, http, scripted_server
from tests.support.servers.http_service import http_service
from tests.support.sidecar.sidecar import sidecar

_CONFIGURATION = """
integration "shop" {{
  type = "http"
  endpoint {{
    url = "{0}"
  }}
  health {{
    interval = "500ms"
  }}
  config {{
    poll   = "50ms"
    path   = "/value"
    events = "/events"
  }}
}}
subscription "orders" {{
  integration = "shop"
  topic       = "events"
  emit        = "data.orders"
}}
subscription "stock" {{
  integration = "shop"
  topic       = "poll"
  emit        = "data.stock"
}}
route "restock" {{
  on          = "restock"
  integration = "shop"
  operation   = "request"
  method      = "PUT /value"
  params      = {{
    body = event.payload
  }}
  emit        = "restocked"
}}
"""


async def test_requests_routes_and_feeds_over_a_death() -> None:
    """All of it works, and again after the service was killed and has come back."""
    with http_service() as first, sidecar(_CONFIGURATION.format(first.url)) as running, running.program() as program:
        await program.wait("health.shop", lambda event: event["payload"]["status"] == "connected")
        answer = await program.request("shop", "POST /echo", {"body": {"n": 1}})
        assert answer["ok"]
        assert (answer["result"]["status"], answer["result"]["body"]) == (200, {"n": 1})
        refused = await program.request("shop", "GET /nowhere")
        assert (refused["error"]["kind"], refused["error"]["code"]) == ("rejected", 404)
        program.emit("restock", {"left": 3}, "restock")
        restocked = await program.wait("restocked")
        assert restocked["payload"] == {"status": 204, "headers": restocked["payload"]["headers"], "body": None}
        await program.wait("data.stock", lambda event: event["payload"]["message"] == {"left": 3})
        await program.request("shop", "POST /say", {"body": {"order": 1}})
        said = await program.wait("data.orders")
        assert said["payload"]["headers"] == {"event": "said", "id": "1"}

        since = program.mark()
        first.kill()
        await program.wait("health.shop", lambda event: event["payload"]["status"] == "disconnected", since=since)
        with http_service(first.port):
            await program.wait("health.shop", lambda event: event["payload"]["status"] == "connected", since=since)
            await program.request("shop", "POST /say", {"body": {"order": 2}})
            await program.wait("data.orders", lambda event: event["payload"]["message"] == {"order": 2}, since=since)
            await program.wait("data.stock", lambda event: event["payload"]["message"] is None, since=since)


_SECRETS = """
integration "{0}" {{
  type = "http"
  endpoint {{
    url = "{1}"
  }}
  auth {{
    {2}
  }}
}}
"""


async def test_a_refusal_never_says_our_secret() -> None:
    """A server may repeat the request; the base64 of basic auth is as good as the password, be that ever so short."""

    def respond(request: Received) -> None:
        request.send(
            http(json.dumps({"you": "said", "all": request.head.decode()}), 400, "Content-Type: application/json")
        )

    kinds = {
        "token": ('type = "bearer"\n token = "t0ken"', "t0ken"),
        "long": ('type = "basic"\n username = "u"\n password = "pa55word"', base64.b64encode(b"u:pa55word").decode()),
        "short": ('type = "basic"\n username = "u"\n password = "p"', base64.b64encode(b"u:p").decode()),
    }
    async with scripted_server(respond) as server:
        text = "".join(_SECRETS.format(name, server.url, auth) for name, (auth, _) in kinds.items())
        with sidecar(text) as running, running.program() as program:
            for name, (_, secret) in kinds.items():
                refused = await program.request(name, "GET /x")
                assert refused["error"]["kind"] == "rejected", refused
                assert refused["error"]["data"]["you"] == "said"
                assert "***" in refused["error"]["data"]["all"]
                assert secret not in json.dumps(refused)
