"""`at_least_once` through whole sidecars that are killed: nothing that was accepted is lost."""

import asyncio
import json

from tests.integration.test_sidecar_redis import integration
from tests.support.lives import lives
from tests.support.redis_server import redis_server

ROUTE = """
route "orders" {
  on          = ["order.placed"]
  integration = "store"
  operation   = "enqueue"
  queue       = "orders"
  message     = event.payload
  delivery    = "at_least_once"
  receipts    = true
  key         = event.payload.shop
}
"""


def entries(server):
    """What the stream holds: (payload, idempotency key)."""
    found = []
    for _, fields in server.client().xrange("orders"):
        headers = json.loads(fields["headers"])
        found.append((json.loads(fields["data"]), headers["idempotency_key"]))
    return found


async def test_killed_in_mid_flight_it_delivers_all_and_repeats_with_the_same_key():
    """Four lives, 600 events: each at least once, one outcome each, and the stream shows the key of each."""
    count = 600
    with redis_server() as server, lives(integration(server) + ROUTE) as start:
        sent = 0
        while sent < count:
            running = start()
            with running.program("receipt.", "health.bridge") as program:
                for _ in range(200):
                    program.emit(
                        "order.placed",
                        {"n": sent, "shop": f"s{sent % 5}"},
                        f"c{sent}",
                        {"idempotency_key": f"k{sent}"},
                        source="shop",
                    )
                    sent += 1
                last = f"c{sent - 100}"
                await program.wait("receipt.store.delivered", lambda event, last=last: event["correlation_id"] == last)
                running.kill()
        running = start()
        # What a client of the lossy bus does: say everything again until it is answered.
        with running.program("receipt.", "response.", "health.bridge") as program:
            answered = set()
            for _ in range(40):
                for number in sorted(set(range(count)) - answered):
                    program.emit(
                        "order.placed",
                        {"n": number, "shop": f"s{number % 5}"},
                        f"c{number}",
                        {"idempotency_key": f"k{number}"},
                        source="shop",
                    )
                await asyncio.sleep(0.25)
                responses = program.seen("response.order.placed")
                assert all(event["payload"]["ok"] for event in responses)
                answered = {int(event["correlation_id"][1:]) for event in responses}
                if len(answered) == count:
                    break
            assert len(answered) == count
            assert not [event for event in program.seen(prefix="receipt.") if "delivered" not in event["event_type"]]
        found = entries(server)
        keys = {}
        for payload, key in found:
            assert keys.setdefault(payload["n"], key) == key == f"k{payload['n']}"
        assert set(keys) == set(range(count))
