"""A whole run with secrets in every place that can hold one: none is found in anything that anybody gets to see."""

import base64
import json
import random
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote, quote_plus

import httpx
import pytest

from bridge.cli.sidecar import read
from bridge.core.clock import RealClock
from bridge.core.setup import setup_of
from tests.integration.observe.test_console import console
from tests.support.servers.echoing_remote import echoing_remote
from tests.support.servers.nats_jwt import Operator
from tests.support.servers.remote import refusing_port
from tests.support.servers.tls import make_certificates
from tests.support.sidecar import fork_server
from tests.support.sidecar.sidecar import Sidecar, bus_block, short_directory

_ROOT = Path(__file__).parents[2]
ENVIRON = {
    "BASIC_PASS": "pa/ss+Wörd&1=x y",
    "BASIC_USER": "alice-of-basic",
    "BEARER": "eyJhbGciOi.Bearer_Token-77",
    "HTTP_TOKEN": "http-token-0815-abc",
    "WS_TOKEN": "ws-token-4711-abc",
    "REDIS_PASS": "redis-Secret-pass",
    "MQTT_PASS": "mqtt-Secret-pass",
    "NATS_TOKEN": "nats-Secret-token",
    "CLIENT_ID": "client-id-hidden",
    "PARAM": "param-api-key-9",
    "QUERY_KEY": "query-key-hidden",
    "CONSOLE_KEY": "console-key-hidden-0815",
}
LITERAL = "literal-Secret-in-file"
_ROUTE = """
route "keyed" {
  on          = ["order.placed"]
  integration = "bearer"
  operation   = "request"
  method      = "orders.create"
  params = {
    key = env.PARAM
    id  = event.payload.id
  }
}
"""


def configuration(port: int, nats: int, cert: Path, key: Path, credentials: Path) -> str:
    """An integration for each kind of auth and each protocol, all at hostile remotes; values from the environment."""

    def block(name: str, kind: str, url: str, auth: str, config: str = "") -> str:
        more = f"\n config {{\n  {config}\n }}" if config else ""
        return f"""
integration "{name}" {{
  type = "{kind}"
  endpoint {{
    url = "{url}"
  }}
  auth {{
    {auth}
  }}
  resilience {{
    timeout = "2s"
    retry {{
      max_attempts = 2
      initial_delay = "1ms"
    }}
    circuit_breaker {{
      failure_threshold = 2
    }}
  }}{more}
}}
"""

    basic = 'type = "basic"\n    username = env.BASIC_USER\n    password = env.BASIC_PASS'

    def bearer(token: str) -> str:
        return f'type = "bearer"\n    token = {token}'

    return "".join(
        (
            'variable "key" {\n  env = "QUERY_KEY"\n}\n',
            block("basic", "json-rpc", f"http://127.0.0.1:{port}/rpc?api_key=${{var.key}}", basic),
            block("bearer", "json-rpc", f"http://127.0.0.1:{port}/rpc", bearer("env.BEARER")),
            block("literal", "json-rpc", f"http://127.0.0.1:{port}/rpc", bearer(f'"{LITERAL}"')),
            block("web", "http", f"http://127.0.0.1:{port}/hook/${{var.key}}", bearer("env.HTTP_TOKEN")),
            block("socket", "websocket", f"ws://127.0.0.1:{port}/", bearer("env.WS_TOKEN")),
            block("store", "redis", f"redis://127.0.0.1:{port}/0", 'type = "basic"\n    password = env.REDIS_PASS'),
            block(
                "devices",
                "mqtt",
                f"mqtt://127.0.0.1:{port}",
                'type = "basic"\n    username = env.BASIC_USER\n    password = env.MQTT_PASS',
                'client_id = "c-${env.CLIENT_ID}"',
            ),
            block("backbone", "nats", f"nats://127.0.0.1:{nats}", bearer("env.NATS_TOKEN")),
            block("vault", "nats", f"nats://127.0.0.1:{nats}", f'type = "credentials"\n    file = "{credentials}"'),
            block(
                "gone",
                "json-rpc",
                f"https://127.0.0.1:{refusing_port()}/rpc?k=${{var.key}}",
                f'type = "certificate"\n    cert = "{cert}"\n    key = "{key}"',
            ),
            _ROUTE,
        )
    )


def forms(secret: str) -> Iterator[str]:
    """How a secret may be written; made here once more, and not taken from what is tested."""
    yield secret
    yield from (quote(secret), quote(secret, safe=""), quote_plus(secret))
    yield from (json.dumps(secret)[1:-1], repr(secret)[1:-1], repr(secret.encode())[2:-1])
    for head in ("", ":", "a:", f"{ENVIRON['BASIC_USER']}:"):
        yield base64.b64encode(f"{head}{secret}".encode()).decode().rstrip("=")


def leaks(output: str, secrets: dict[str, str]) -> list[str]:
    """What of the secrets is found, with its surroundings."""
    found = []
    for name, secret in secrets.items():
        for form in forms(secret):
            at = output.lower().find(form.lower())
            if at >= 0:
                found.append(f"{name}: {output[max(0, at - 150) : at + len(form) + 60]!r}")
    return found


@pytest.mark.parametrize("form", ["console", "json"])
async def test_no_secret_gets_out(form):
    """Log, events, answers, health, status, page, metrics and every command: nothing holds a secret in any form."""
    with ExitStack() as stack:
        directory = stack.enter_context(short_directory())
        port = stack.enter_context(echoing_remote())
        nats = stack.enter_context(echoing_remote(speaks_first=True))
        cert, key = make_certificates(directory).client_files()
        text = 'bridge {\n  status = "127.0.0.1:0"\n  heartbeat = "1s"\n'
        text += "  console {\n    actions = true\n    token = env.CONSOLE_KEY\n  }\n}\n"
        text += f'log {{\n  level = "debug"\n  format = "{form}"\n}}\n'
        credentials = directory / "user.creds"
        credentials.write_text(Operator().credentials())
        text += bus_block(directory) + configuration(port, nats, cert, key, credentials)
        secrets = ENVIRON | {"LITERAL": LITERAL, "PEM": "".join(key.read_text().splitlines()[1:2])}
        token, seed = (line for line in credentials.read_text().splitlines() if len(line) > 50)
        secrets |= {"SEED": seed} | {f"JWT {n}": token[n : n + 60] for n in range(60, len(token) - 60, 60)}
        running = Sidecar(directory, text, environ=ENVIRON)
        stack.callback(running.kill)
        seen: list[str] = []
        with running.ready().program() as program:
            answers = []
            for name in ("basic", "bearer", "literal", "gone"):
                answers += [await program.request(name, "orders.get", {"id": 7}) for _ in range(3)]
            answers.append(await program.request("web", "GET /items", {}))
            answers.append(await program.ask("integration.devices.publish", {"topic": "a", "message": 1}))
            answers.append(await program.ask("integration.backbone.publish", {"topic": "a", "message": 1}))
            answers.append(await program.ask("integration.vault.publish", {"topic": "a", "message": 1}))
            answers.append(await program.ask("integration.store.enqueue", {"queue": "a", "message": 1}))
            answers.append(await program.ask("integration.socket.publish", {"topic": "*", "message": 1}))
            answers.append(await program.ask("order.placed", {"id": 1}))
            assert not any(answer["ok"] for answer in answers)
            answers.append(await program.ask("bridge.status"))
            assert any("***" in answer["error"]["message"] for answer in answers[:-1])
            assert program.seen("resilience.bearer.failed")
            for name in ("devices", "backbone", "vault", "store", "socket"):
                await program.wait(f"health.{name}", lambda event: event["payload"]["error"] is not None)
            if form == "console":
                seen += commands(running)
            seen.append(json.dumps(answers, ensure_ascii=False) + repr(answers))
            program.pump()
            seen.append("\n".join(json.dumps(event, ensure_ascii=False) + repr(event) for event in program.log))
        place = re.search(r"http://127\.0\.0\.1:\d+/", running.text)
        assert place is not None
        async with httpx.AsyncClient(base_url=place[0], trust_env=False) as client:
            seen += [(await client.get(path)).text for path in ("/", "/livez", "/readyz", "/metrics")]
        seen += await shown_by_the_console(place[0])
        running.term()
        assert running.wait() == 0
        seen.append(running.text)
        output = "\n".join(seen)
        assert "***" in running.text
        assert not leaks(output, secrets)
        if form == "json":
            lines = [json.loads(line) for line in running.text.splitlines()]
            assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)
            assert {"backbone", "devices", "store"} <= {line.get("integration") for line in lines}


async def shown_by_the_console(url: str) -> list[str]:
    """The frames of the overview and of each integration."""
    frames = []
    async with console(url) as viewer:
        await viewer.say(view="overview")
        frames.append(await viewer.next("overview"))
        for row in frames[0]["data"]["integrations"]:
            await viewer.say(view="integration", integration=row["integration"])
            frames.append(await viewer.next("integration"))
        frames.append(await viewer.act(ENVIRON["CONSOLE_KEY"], do="reload", dry_run=True))
        frames.append(await viewer.act("wrong", do="reload"))
    assert any("auth.token" in frame["data"]["configuration"] for frame in frames if frame["type"] == "integration")
    return [json.dumps(frame, ensure_ascii=False) for frame in frames]


def commands(running: Sidecar) -> list[str]:
    """What each command prints, with what it prints of its errors."""
    place = ("--publish", running.publish, "--subscribe", running.subscribe)
    outputs = []
    for words in (
        ("check", "--connect", str(running.file)),
        ("status", *place),
        ("tap", "health.**", "--json", "--count", "12", *place),
        ("call", "basic", "orders.get", *place),
    ):
        done = fork_server.run(*words, environ=ENVIRON)
        assert done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        outputs.append(done.stdout + done.stderr)
    return outputs


def test_no_secret_is_in_a_repr(tmp_path, monkeypatch):
    """Configuration, integrations, setups and adapters show themselves without credentials."""
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    cert, key = make_certificates(tmp_path).client_files()
    file = tmp_path / "bridge.hcl"
    credentials = tmp_path / "user.creds"
    credentials.write_text(Operator().credentials())
    file.write_text(configuration(1, 2, cert, key, credentials))
    found = read([file])
    auth = {name: ENVIRON[name] for name in ENVIRON if name.endswith(("PASS", "TOKEN")) or name == "BEARER"}
    shown = [repr(found), str(found)]
    for one in found.integrations.values():
        setup = setup_of(one, clock=RealClock(), random=random.Random(0))
        adapter = one.spec.create(setup)
        shown += [repr(one), repr(setup), repr(adapter), str(adapter), repr(one.auth), one.auth.model_dump_json()]
    assert len(found.integrations) == 10
    assert not leaks("\n".join(shown), auth | {"LITERAL": LITERAL})
