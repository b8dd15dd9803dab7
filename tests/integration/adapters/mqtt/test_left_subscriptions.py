"""A subscription that is taken out of the configuration while the broker keeps the session."""

from tests.support.adapters.mqtt import Mailbox, connected
from tests.support.bus.program import Program
from tests.support.servers.mosquitto import mosquitto
from tests.support.sidecar.sidecar import Sidecar, bus_block, short_directory
from tests.support.wait import until

JOBS = """
subscription "jobs" {
  integration = "remote"
  topic       = "jobs/#"
  group       = "workers"
  emit        = "job.come"
}
"""


async def test_a_group_that_a_restarted_sidecar_has_left() -> None:
    """It takes no more jobs from the other members; those in its hand are counted, and health names what was ended."""
    other = Mailbox()
    with mosquitto() as broker, short_directory() as place:
        text = f"""
bridge {{
  data_dir  = "{place}/data"
  heartbeat = "300ms"
}}
{bus_block(place)}
integration "remote" {{
  type = "mqtt"
  endpoint {{
    url = "{broker.url}"
  }}
  config {{
    client_id   = "kept"
    clean_start = false
  }}
  health {{
    interval = "300ms"
  }}
}}
"""
        first = Sidecar(place, text + JOBS).ready()
        with Program(f"ipc://{place}/p", f"ipc://{place}/s") as program:
            await program.wait("health.remote", lambda event: event["payload"]["status"] == "connected")
        first.kill()
        second = Sidecar(place, text).ready()
        try:
            with Program(f"ipc://{place}/p", f"ipc://{place}/s") as program:
                await program.wait("health.remote", lambda event: event["payload"]["status"] == "connected")
                async with connected(broker.url) as member:
                    await member.subscribe("jobs/#", other.deliver, group="workers")
                    for number in range(6):
                        await member.publish("jobs/early", number)
                    told = await program.wait("health.remote", lambda event: event["payload"]["dropped"] > 0)
                    named = "$share/workers/jobs/#"
                    if named not in str(told["payload"]["warnings"]):
                        await program.wait("health.remote", lambda event: named in str(event["payload"]["warnings"]))
                    for number in range(100, 120):
                        await member.publish("jobs/late", number)
                    late = set(range(100, 120))
                    await until(lambda: late <= set(other.contents))
        finally:
            second.kill()
