"""Record events of a real sidecar: one JSON object a line, with the event also as MessagePack in both shapes."""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgpack
import zmq
import zmq.asyncio

from bridge.contract import message_type_for
from bridge.contract.asyncapi import event_name

CONFIG = """
bus {
  publish   = "ipc://FOLDER/publish"
  subscribe = "ipc://FOLDER/subscribe"
}
bridge {
  data_dir  = "FOLDER/data"
  heartbeat = "1s"
}
log {
  level = "error"
}
integration "shop" {
  type = "json-rpc"
  endpoint {
    url = "URL"
  }
}
integration "gone" {
  type = "json-rpc"
  endpoint {
    url = "http://127.0.0.1:1"
  }
  resilience {
    retry {
      max_attempts  = 2
      initial_delay = "10ms"
    }
    circuit_breaker {
      failure_threshold = 2
    }
  }
}
integration "limits" {
  type = "static"
  config {
    values = { orders = { max = 100 } }
  }
}
subscription "limits" {
  integration = "limits"
  topic       = "orders"
}
"""
#: What is asked, and how often: the second call to `gone` finds an open circuit.
COMMANDS = [
    ("integration.shop.request", {"method": "orders.create", "params": {"id": 7, "cents": 1250}}),
    ("integration.shop.request", {"method": "no.such.method"}),
    ("integration.shop.publish", {"topic": "t", "message": 1}),
    ("integration.gone.request", {"method": "orders.get"}),
    ("integration.gone.request", {"method": "orders.get"}),
    ("integration.gone.circuit.reset", {}),
    ("integration.nobody.request", {"method": "m"}),
    ("bridge.ping", {"deep": [1, None, 1.5]}),
    ("bridge.status", {}),
    ("bridge.subscriptions", {}),
    ("bridge.overview", {}),
    ("bridge.inspect", {"integration": "gone"}),
    ("bridge.dead_letters", {}),
    ("bridge.nonsense", {}),
]
#: Seconds until the recording has failed.
PATIENCE = 50


async def started(*command: str, output: int | None = None) -> asyncio.subprocess.Process:
    """Start a Python module."""
    return await asyncio.create_subprocess_exec(sys.executable, "-m", *command, stdout=output)


async def record(folder: Path) -> list[dict[str, Any]]:
    """Run service and sidecar, emit the commands, and return all events until the last answer and two heartbeats."""
    service = await started("bridge.cli.demo_service", "--port", "0", output=asyncio.subprocess.PIPE)
    assert service.stdout is not None
    url = (await service.stdout.readline()).decode().split()[-1]
    file = folder / "bridge.hcl"
    file.write_text(CONFIG.replace("FOLDER", str(folder)).replace("URL", url))
    context = zmq.asyncio.Context()
    subscriber, publisher = context.socket(zmq.SUB), context.socket(zmq.PUB)
    sidecar = None
    try:
        subscriber.connect(f"ipc://{folder}/subscribe")
        subscriber.subscribe(b"")
        publisher.connect(f"ipc://{folder}/publish")
        sidecar = await started("bridge", "run", str(file))
        return await asyncio.wait_for(conversation(subscriber, publisher), PATIENCE)
    finally:
        for process in (sidecar, service):
            if process is not None and process.returncode is None:
                process.terminate()
                await process.wait()
        context.destroy(linger=0)


async def conversation(subscriber: zmq.asyncio.Socket, publisher: zmq.asyncio.Socket) -> list[dict[str, Any]]:
    """Emit one command after the other, each when the one before is answered."""
    found: list[dict[str, Any]] = []
    waiting = [command(*one) for one in enumerate(COMMANDS, 1)]
    ready = False
    while waiting:
        _, body = await subscriber.recv_multipart()
        event = msgpack.unpackb(body)
        found.append(event)
        asked = waiting[0]
        answered = event["correlation_id"] == asked["correlation_id"] and event["event_type"].startswith("response.")
        if answered:
            waiting.pop(0)
        # What was sent before the bus was there is lost: each heartbeat sends it again.
        ready = ready or (event["event_type"] == "health.shop" and event["payload"]["status"] == "connected")
        if ready and waiting and (answered or event["event_type"] == "health.bridge"):
            await publisher.send_multipart([waiting[0]["event_type"].encode(), msgpack.packb(waiting[0])])
    return found


def command(number: int, asked: tuple[str, object]) -> dict[str, Any]:
    """Return the event of a command."""
    event_type, payload = asked
    return {
        "id": number,
        "event_type": event_type,
        "payload": payload,
        "timestamp": 1763935200000,
        "source": "recorder",
        "correlation_id": f"recorded-{number}",
    }


def main() -> None:
    """Write the file that is named."""
    with tempfile.TemporaryDirectory(prefix="nemo-") as folder:
        events = asyncio.run(record(Path(folder)))
    with Path(sys.argv[1]).open("w", encoding="utf-8") as file:
        for event in events:
            kind = message_type_for(str(event["event_type"]))
            array = [event[key] for key in ("id", "event_type", "payload", "timestamp", "source", "correlation_id")]
            line = {
                "type": kind.type_name if kind else None,
                "schema": kind.name if kind else None,
                "whole": event_name(kind) if kind else "Event",
                "event": event,
                "map": msgpack.packb(event).hex(),
                "array": msgpack.packb(array).hex(),
            }
            file.write(json.dumps(line) + "\n")
    types = {str(event["event_type"]) for event in events}
    print(f"recorded {len(events)} events of {len(types)} types")


main()
