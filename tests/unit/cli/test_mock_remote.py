"""A stand-in answers plausibly, fails as it is told, and shows what it gets without secrets."""

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.cli.mock import Options, Place, make_plan
from bridge.cli.mock_remote import Answer, MockRemote, Received
from bridge.config import Configuration, load
from bridge.core.errors import InvalidError
from bridge.registry import AdapterRegistry

TOKEN = "s3cret-token"


def configured(folder: Path, text: str, **environ: str) -> Configuration:
    """Load a configuration."""
    file = folder / "mock.hcl"
    file.write_text(text)
    return load([file], adapters=AdapterRegistry(), environ=environ, with_placeholders=True)


def integration(name: str, kind: str, url: str, more: str = "") -> str:
    """Return an integration block."""
    return f'integration "{name}" {{\n  type = "{kind}"\n  endpoint {{\n    url = "{url}"\n  }}\n{more}\n}}\n'


SHOP = integration("shop", "json-rpc", "http://127.0.0.1:8080/rpc")
API = integration(
    "api",
    "http",
    "http://localhost:8080/api",
    """
  config {
    poll        = "1m"
    path        = "/stock"
    events      = "/events"
    health_path = "/health"
  }
""",
)
BEARER = 'auth {\n  type = "bearer"\n  token = env.TOKEN\n}'


def planned(folder: Path, text: str, options: Options | None = None, **environ: str) -> dict[str, MockRemote]:
    """Return the stand-ins of a configuration by name."""
    return {one.name: one for one in make_plan(configured(folder, text, **environ), options or Options()).remotes}


def places(folder: Path, text: str, options: Options | None = None) -> list[Place]:
    """Return where the stand-ins of a configuration listen."""
    return make_plan(configured(folder, text), options or Options()).places


def called(remote: MockRemote, *calls: Any) -> Answer:
    """Post a call, or several as a batch, without a check of the answer."""
    return remote.respond(Received("POST", "/rpc", json.dumps(calls[0] if len(calls) == 1 else calls).encode()))


def call(params: Any = None, call_id: int | None = 1) -> dict[str, Any]:
    """Return a request object; a notification without an id."""
    found = {"jsonrpc": "2.0", "method": "orders.create"}
    return found | ({} if params is None else {"params": params}) | ({} if call_id is None else {"id": call_id})


# --- JSON-RPC


@pytest.mark.parametrize(
    ("params", "result"),
    [
        ({"id": 7}, {"id": 7, "number": 1}),
        ([1, 2], {"params": [1, 2], "number": 1}),
        (None, {"number": 1}),
    ],
)
def test_a_call_is_answered_with_its_parameters_and_a_number(params: Any, result: Any, tmp_path: Path) -> None:
    """So an answer can be told from another, and shows what came."""
    shop = planned(tmp_path, SHOP)["shop"]
    answer = called(shop, call(params))
    assert (answer.status, answer.body) == (200, {"jsonrpc": "2.0", "result": result, "id": 1})
    assert called(shop, call(params)).body["result"]["number"] == 2


def test_batches_notifications_and_errors_are_as_specified(tmp_path: Path) -> None:
    """A line for each call, and for each error."""
    shop = planned(tmp_path, SHOP)["shop"]
    answer = called(shop, call({"id": 1}, 1), call({"id": 2}, None), {"jsonrpc": "1.0"})
    assert [one.get("id") for one in answer.body] == [1, None]
    assert [line.partition(" ")[0] for line in answer.lines] == ["orders.create", "orders.create", '[{"jsonrpc":']
    note = called(shop, call({"id": 2}, None))
    assert (note.status, note.lines) == (204, ('orders.create {"id": 2} → no answer, a notification',))
    wrong = shop.respond(Received("POST", "/rpc", b"\xff\x1b[2J"))
    assert wrong.body["error"]["code"] == -32700
    assert "\x1b" not in wrong.lines[0]


def test_it_fails_as_often_as_it_is_told(tmp_path: Path) -> None:
    """A number of calls, or all of them; health checks are not counted."""
    shop = planned(tmp_path, SHOP, Options(fail=["shop=2"]))["shop"]
    assert shop.respond(Received("GET", "/rpc")).status == 200
    assert [called(shop, call({})).status for _ in range(3)] == [503, 503, 200]
    always = planned(tmp_path, SHOP, Options(fail=["shop"]))["shop"]
    answers = [called(always, call({})) for _ in range(5)]
    assert {answer.status for answer in answers} == {503}
    assert answers[0].lines == ("orders.create {} → 503, as told",)


def test_it_answers_late_and_what_it_is_told(tmp_path: Path) -> None:
    """`--delay` and `--answer`, of which each is for one integration."""
    shop = planned(tmp_path, SHOP, Options(delay=["shop=250ms"], answer=['shop={"ok": [1]}']))["shop"]
    answer = called(shop, call({"id": 7}))
    assert (answer.delay, answer.body["result"]) == (0.25, {"ok": [1]})


def test_what_is_no_call_is_told_what_this_is(tmp_path: Path) -> None:
    """A health check is a GET; a browser sees what stands here."""
    shop = planned(tmp_path, SHOP)["shop"]
    assert shop.respond(Received("GET", "/rpc")).body == {"stands_in_for": "shop", "calls": 0}
    assert shop.respond(Received("DELETE", "/rpc")).status == 405


# --- HTTP


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (Received("POST", "/api/orders", b'{"id": 7}'), {"id": 7, "number": 1}),
        (Received("PUT", "/api/orders/7", b"[1]"), {"params": [1], "number": 1}),
        (Received("POST", "/api/notes", "größer".encode()), {"params": "größer", "number": 1}),
        (Received("POST", "/api/notes", b"\xff"), {"bytes": 1, "number": 1}),
        (
            Received("GET", "/api/items/a%20b?q=1&q=2"),
            {"method": "GET", "path": "/items/a b", "query": {"q": "2"}, "number": 1},
        ),
        (Received("GET", "/api/stock"), {"method": "GET", "path": "/stock", "query": {}, "number": 1}),
        (Received("GET", "/api/health"), {"status": "ok"}),
    ],
    ids=lambda one: f"{one.method} {one.target}" if isinstance(one, Received) else "",
)
def test_a_request_is_answered_with_what_it_says(request_: Received, body: Any, tmp_path: Path) -> None:
    """The body back, or else path and query; what is polled is new each time."""
    answer = planned(tmp_path, API)["api"].respond(request_)
    assert (answer.status, answer.body) == (200, body)


def test_the_path_of_events_is_a_stream(tmp_path: Path) -> None:
    """For a client that asks for one."""
    api = planned(tmp_path, API)["api"]
    assert api.respond(Received("GET", "/api/events", accept="text/event-stream")).stream
    assert not api.respond(Received("GET", "/api/events")).stream


def test_http_fails_too(tmp_path: Path) -> None:
    """A number means requests; a remote that always fails has a health check that fails as well."""
    some = planned(tmp_path, API, Options(fail=["api=1"]))["api"]
    assert some.respond(Received("GET", "/api/health")).status == 200
    assert [some.respond(Received("GET", "/api/x")).status for _ in range(2)] == [503, 200]
    assert planned(tmp_path, API, Options(fail=["api"]))["api"].respond(Received("GET", "/api/health")).status == 503


# --- what is shown


@pytest.mark.parametrize(
    ("authorization", "shown"),
    [
        (f"Bearer {TOKEN}", "(with bearer token)"),
        ("Bearer other", "(with another bearer token than the configuration's)"),
        ("Basic eDp5", "(with another user name and password than the configuration's)"),
        (None, "(without credentials)"),
    ],
)
def test_credentials_are_named_and_not_shown(authorization: str | None, shown: str, tmp_path: Path) -> None:
    """A line says of which kind they are, and whether they are those of the configuration."""
    shop = planned(tmp_path, integration("shop", "json-rpc", "http://127.0.0.1:80/rpc", BEARER), TOKEN=TOKEN)["shop"]
    answer = shop.respond(Received("GET", "/rpc", authorization=authorization))
    assert answer.lines == (f"GET /rpc → 200  {shown}",)


def test_a_stand_in_needs_no_secret(tmp_path: Path) -> None:
    """Where the environment lacks the token, nothing is said of whether the one that comes is right."""
    shop = planned(tmp_path, integration("shop", "json-rpc", "http://127.0.0.1:80/rpc", BEARER))["shop"]
    answer = shop.respond(Received("GET", "/rpc", authorization="Bearer x"))
    assert answer.lines == ("GET /rpc → 200  (with bearer token)",)


def test_secrets_are_shown_nowhere(tmp_path: Path) -> None:
    """Neither in a call, its answer, a path, nor in what cannot be read."""
    text = integration("shop", "json-rpc", "http://127.0.0.1:80/rpc", BEARER) + integration(
        "api", "http", "http://127.0.0.1:81/", BEARER
    )
    both = planned(tmp_path, text, TOKEN=TOKEN)
    lines = [
        *called(both["shop"], call({"token": TOKEN})).lines,
        *both["shop"].respond(Received("POST", "/rpc", TOKEN.encode())).lines,
        *both["api"].respond(Received("GET", f"/x?token={TOKEN}")).lines,
        *both["api"].respond(Received("POST", "/x", TOKEN.encode())).lines,
    ]
    assert len(lines) == 4
    assert all("***" in line and TOKEN not in line for line in lines)


def test_a_large_call_is_shown_in_part(tmp_path: Path) -> None:
    """A line stays one line, and short."""
    shop = planned(tmp_path, SHOP)["shop"]
    (line,) = called(shop, call({"text": "x\n" * 100_000})).lines
    assert len(line) < 500
    assert "\n" not in line


# --- where


def test_where_they_listen(tmp_path: Path) -> None:
    """Where the endpoints are; those of one address share it, and the longest path that fits decides."""
    text = SHOP + API + integration("live", "json-rpc", "ws://[::1]:9000/")
    found = places(tmp_path, text)
    assert [(one.host, one.port, one.websocket, [remote.name for remote in one.remotes]) for one in found] == [
        ("127.0.0.1", 8080, False, ["shop", "api"]),
        ("::1", 9000, True, ["live"]),
    ]
    shop, api = found[0].remotes
    assert [shop.serves("/rpc"), shop.serves("/rpc/"), shop.serves("/rpc/x"), shop.serves("/")] == [
        True,
        True,
        False,
        False,
    ]
    assert [api.serves("/api"), api.serves("/api/x"), api.serves("/apix")] == [True, True, False]


def test_who_is_left_out(tmp_path: Path) -> None:
    """Remotes elsewhere or with TLS need a port; brokers have no stand-ins; a timer needs none."""
    text = (
        integration("bank", "json-rpc", "https://bank.example.com/rpc")
        + integration("near", "http", "https://127.0.0.1/")
        + integration("broker", "mqtt", "mqtt://127.0.0.1")
        + 'integration "clock" {\n  type = "timer"\n  config {\n    every = "1s"\n  }\n}\n'
    )
    plan = make_plan(configured(tmp_path, text), Options())
    assert plan.places == []
    assert [one.id for one, _ in plan.elsewhere] == ["bank", "near"]
    assert [one.id for one in plan.others] == ["broker"]
    (place,) = places(tmp_path, text, Options(port=["bank=0"]))
    assert (place.host, place.port, place.remotes[0].path, place.remotes[0].moved) == ("127.0.0.1", 0, "/rpc", True)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (Options(fail=["shp=3"]), r"--fail shp=3: no JSON-RPC or HTTP .*\(did you mean `shop`\?\); there are `shop`"),
        (Options(fail=["shop=x"]), "--fail shop=x: write how many calls fail"),
        (Options(fail=["shop=-1"]), "--fail shop=-1: write how many"),
        (Options(delay=["shop=soon"]), "--delay shop: .*duration"),
        (Options(answer=["shop={"]), "--answer shop: this is not JSON"),
        (Options(port=["shop=70000"]), "--port shop=70000: write a port"),
    ],
)
def test_wrong_options(options: Options, complaint: str, tmp_path: Path) -> None:
    """Each is told what would be right."""
    with pytest.raises(InvalidError, match=complaint):
        make_plan(configured(tmp_path, SHOP), options)


def test_two_protocols_at_one_port(tmp_path: Path) -> None:
    """HTTP and WebSocket at the same port are refused in words."""
    with pytest.raises(InvalidError, match=r"only one of them uses WebSocket.*--port live="):
        places(tmp_path, SHOP + integration("live", "json-rpc", "ws://127.0.0.1:8080/live"))
