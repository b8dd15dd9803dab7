"""Calls through the outbox: outages, unknown outcomes, dead letters and receipts, over whole lives of the sidecar."""

import asyncio
import json
import time

from typer.testing import CliRunner

from bridge.cli.main import app
from tests.support.servers.remote import free_port, refusing_port, remote
from tests.support.sidecar.restarts import restarts
from tests.support.sidecar.sidecar import json_rpc
from tests.support.wait import until


def route(name, method, more=""):
    """A route of requests with receipts; the event `<name>` sets it off, and its payload is the one parameter."""
    return f"""
route "{name}" {{
  on          = ["{name}"]
  integration = "api"
  operation   = "request"
  method      = {method}
  params      = [event.payload]
  delivery    = "at_least_once"
  receipts    = true
  {more}
}}
"""


async def test_what_was_accepted_while_the_remote_was_down_comes_after_a_restart_in_order():
    """No response before the end; then one each, with all attempts; each key's events in order; the key goes along."""
    port = free_port()
    # Idempotent, so that the kill can never meet a call that must not be repeated.
    text = json_rpc("api", f"http://127.0.0.1:{port}/rpc", timeout="2s", config='idempotent = ["store"]')
    text += route("order", '"store"', "key = event.payload.shop")
    with restarts(text, more='heartbeat = "200ms"') as start:
        running = start()
        with running.program("response.", "receipt.", "health.bridge", "resilience.") as program:
            for number in range(40):
                program.emit("order", {"n": number, "shop": number % 3}, f"c{number}")
            await until(lambda: pending(program) == 40, "all are pending")
            assert not program.seen(prefix="response.")
            assert not program.seen("resilience.api.failed")
        running = start()
        with running.program("response.", "receipt.", "health.bridge") as program, remote(port) as service:
            await until(lambda: len(program.seen("response.order")) == 40, "all are answered")
            await until(lambda: pending(program) == 0, "nothing is pending")
            answers = program.seen("response.order")
            assert {one["correlation_id"] for one in answers} == {f"c{number}" for number in range(40)}
            assert all(one["payload"]["ok"] and one["payload"]["attempts"] >= 1 for one in answers)
            assert len(program.seen("receipt.api.delivered")) == 40
            for shop in range(3):
                came = [head["params"][0]["n"] for head in service.heads if head["params"][0]["shop"] == shop]
                assert came == list(range(shop, 40, 3))
            assert len({head["idempotency-key"] for head in service.heads}) == 40


def pending(program):
    """What the bridge last said of its outbox."""
    said = program.seen("health.bridge")
    return said[-1]["payload"]["outbox"]["pending"] if said else None


async def test_a_call_in_mid_air_is_never_made_twice():
    """Killed before its answer: a dead letter marked unknown, with its receipt; a replay is a person's decision."""
    with remote() as service, restarts(json_rpc("api", service.url, timeout="20s") + route("pay", '"wait"')) as start:
        running = start()
        with running.program("health.bridge") as program:
            number = program.emit("pay", {"cents": 5}, "c1")
            await until(lambda: service.calls["wait"] == 1, "the call is made")
        running = start()
        service.hold.set()
        with running.program("") as program:
            listed = await program.ask("bridge.dead_letters", {"integration": "api"})
            end = time.monotonic() + 10
            while not listed["result"]["letters"] and time.monotonic() < end:
                await asyncio.sleep(0.05)
                listed = await program.ask("bridge.dead_letters", {"integration": "api"})
            (letter,) = listed["result"]["letters"]
            assert letter["unknown"] is True
            assert (letter["error"]["kind"], letter["error"]["retryable"]) == ("connection_lost", False)
            assert (letter["event"]["id"], letter["event"]["payload"]) == (number, {"cents": 5})
            assert service.calls["wait"] == 1
            missing = await program.ask("bridge.replay", {"ids": ["4711"]})
            assert (missing["ok"], missing["error"]["code"]) == (False, "not_found")
            since = program.mark()
            assert (await program.ask("bridge.replay", {"ids": [letter["letter_id"]]}))["result"] == {"moved": 1}
            answer = await program.response("c1", since=since)
            assert answer["payload"]["result"] == [{"cents": 5}]
            assert service.heads[0]["idempotency-key"] == service.heads[1]["idempotency-key"]
            assert not program.seen(prefix="receipt.", since=since), "its outcome was told already"
            assert (await program.ask("bridge.dead_letters"))["result"] == {"letters": [], "total": 0}


async def test_what_the_remote_refuses_is_a_dead_letter_at_once():
    """Event, response and receipt say so; the same key again gets the same, and runs nothing; discard ends it."""
    with remote() as service, restarts(json_rpc("api", service.url) + route("bad", '"error"')) as start:
        running = start()
        with running.program("") as program:
            program.emit("bad", 7, "c1", {"idempotency_key": "k"}, source="shop")
            event = await program.wait("resilience.api.dead_letter")
            first = await program.response("c1")
            told = await program.wait("receipt.api.dead_lettered")
            assert (event["payload"]["unknown"], event["payload"]["attempts"]) == (False, 1)
            assert event["payload"]["history"][0]["error"]["code"] == -32001
            assert event["payload"]["event"]["headers"] == {"idempotency_key": "k"}
            assert (first["payload"]["ok"], first["payload"]["error"]["kind"]) == (False, "rejected")
            assert (told["payload"]["idempotency_key"], told["correlation_id"]) == ("k", "c1")
        running = start()
        with running.program("") as program:
            program.emit("bad", 7, "c2", {"idempotency_key": "k"}, source="shop")
            again = await program.response("c2")
            assert again["payload"] == first["payload"]
            assert (await program.wait("receipt.api.dead_lettered"))["payload"] == told["payload"]
            assert service.calls["error"] == 1
            listed = await output(running, "list")
            assert "bad" in listed
            assert "rejected: no such order" in listed
            (line,) = (await output(running, "list", "--json")).splitlines()
            letter = json.loads(line)["letter_id"]
            shown = await output(running, "show", letter)
            assert "not executed" in shown
            assert "correlation c1" in shown
            for command in ("replay", "discard"):
                assert "no dead letter 4711" in await output(running, command, "4711", letter, exit_code=1)
            assert await output(running, "replay", letter) == "replayed: 1\n"
            await program.wait("resilience.api.dead_letter", lambda event: event["payload"]["letter_id"] != letter)
            assert service.calls["error"] == 2
            assert await output(running, "discard", "--all", "--yes") == "discarded: 1\n"
            assert (await program.ask("bridge.dead_letters"))["result"]["total"] == 0


async def test_receipts_without_an_outbox_are_remembered_for_a_while():
    """`at_most_once`: one outcome for each accepted event, said again with its key; what was shed has none."""
    port = free_port()
    text = json_rpc("api", f"http://127.0.0.1:{port}/rpc") + route("good", '"store"') + route("bad", '"http:500"')
    text = text.replace('"at_least_once"', '"at_most_once"')
    with remote(port) as service, restarts(text) as start, start().program("") as program:
        for number in range(2):
            program.emit("good", 1, f"g{number}", {"idempotency_key": "g"}, source="shop")
            await program.response(f"g{number}")
            program.emit("bad", 1, f"b{number}", {"idempotency_key": "b"}, source="shop")
            assert (await program.response(f"b{number}"))["payload"]["error"]["kind"] == "unavailable"
        for kind, key in (("delivered", "g"), ("dead_lettered", "b")):
            await program.wait(f"receipt.api.{kind}", lambda one, key=key: one["correlation_id"] == f"{key}1")
        said = [(one["event_type"], one["correlation_id"]) for one in program.seen(prefix="receipt.")]
        good, bad = "receipt.api.delivered", "receipt.api.dead_lettered"
        assert said == [(good, "g0"), (bad, "b0"), (good, "g0"), (good, "g1"), (bad, "b0"), (bad, "b1")]
        assert service.calls == {"store": 1, "http:500": 1}
        program.emit("good", 1, "g9", {"deadline_ms": "1000"})
        assert (await program.response("g9"))["payload"]["error"]["kind"] == "deadline"
        await program.wait("receipt.api.expired")
        await program.ask("integration.api.circuit.force_open")
        program.emit("good", 1, "g10")
        assert (await program.response("g10"))["payload"]["error"]["kind"] == "circuit_open"
        assert len(program.seen(prefix="receipt.")) == 7


async def test_a_log_that_is_removed_after_a_kill_is_told():
    """Health and log of the next start say how many events are missing, and the bridge works."""
    text = json_rpc("api", f"http://127.0.0.1:{refusing_port()}/rpc") + route("good", '"store"')
    with restarts(text, more='heartbeat = "200ms"') as start:
        running = start()
        with running.program("health.bridge") as program:
            for number in range(3):
                program.emit("good", number, f"c{number}", {"idempotency_key": f"k{number}"}, source="shop")
            await until(lambda: pending(program) == 3, "all are accepted")
        running.kill()
        (running.directory / "data" / "outbox.db-wal").unlink()
        running = start()
        with running.program("health.bridge") as program:
            health = await program.wait("health.bridge")
            assert "3 accepted events" in health["payload"]["outbox"]["missing"]
            assert health["payload"]["status"] == "ready"
        assert "3 accepted events" in running.text


async def output(running, *arguments, exit_code=0):
    """What `nemo-bridge dead-letters` prints, or the error that it ends with."""
    command = ["dead-letters", *arguments, "--publish", running.publish, "--subscribe", running.subscribe]
    done = await asyncio.to_thread(CliRunner().invoke, app, command, env={"COLUMNS": "200"})
    assert done.exit_code == exit_code, done.output
    return f"{done.output}{done.exception}" if exit_code else done.output


async def test_what_comes_too_late_is_expired_once():
    """The caller's time of day is kept over a restart, without a remote ever being there."""
    text = json_rpc("api", f"http://127.0.0.1:{refusing_port()}/rpc") + route("late", '"store"')
    with restarts(text, more='heartbeat = "200ms"') as start:
        running = start()
        with running.program("receipt.", "health.bridge") as program:
            deadline = {"deadline_ms": str(time.time_ns() // 1_000_000 + 2500), "idempotency_key": "k"}
            program.emit("late", 1, "c1", deadline, source="shop")
            await until(lambda: pending(program) == 1, "it is accepted")
        running = start()
        with running.program("") as program:
            # Asked again, since it may have ended before anybody listened.
            program.emit("late", 1, "c2", {"idempotency_key": "k"}, source="shop")
            answer = await program.response("c2")
            assert answer["payload"]["error"]["kind"] == "deadline"
            assert (await program.wait("receipt.api.expired"))["payload"]["idempotency_key"] == "k"
            assert (await program.ask("bridge.dead_letters"))["result"]["total"] == 0
            health = await program.ask("bridge.status")
            sums = health["result"]["api"]["accounting"]
            assert sums["accepted"] == sums["expired"] == 1
