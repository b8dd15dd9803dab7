"""The permissions that the page on fabrics gives for each role, at a real server: they are enough, and not too many."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from bridge.adapters.nats.adapter import NatsAdapter, NatsConfig
from bridge.core.cluster import Asked, ClusterSession, ConflictError, KeyEntry, Received, StreamSpec, cluster_of
from bridge.core.endpoint import AuthBasic, Endpoint
from bridge.core.errors import RejectedError
from bridge.core.model import Export
from bridge.fabric.names import GROUP, Names
from tests.load.fabric.ear import Ear
from tests.support.adapters.direct import Direct
from tests.support.adapters.setup import adapter_setup
from tests.support.servers.nats_server import NatsServer, nats_server
from tests.support.sidecar.sidecar import sidecar
from tests.support.wait import until

_PAGE = Path(__file__).parents[3] / "docs" / "fabric.md"
_FABRIC = "plant"
_STREAM = StreamSpec(name="NEMO_plant", subjects=("nemo.plant.event.>",), max_age=3600.0)

Role = tuple[tuple[str, ...], tuple[str, ...]]


def roles() -> dict[str, Role]:
    """The rows of the page's table: what a node does → the subjects that it publishes and subscribes to."""
    text = _PAGE.read_text("utf-8")
    (table,) = re.findall(r"^\| a node that \| publish \| subscribe \|\n\|[- |]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    found: dict[str, Role] = {}
    for row in table.splitlines():
        what, publish, subscribe = (cell.strip() for cell in row.strip("|").split("|"))
        subjects = [tuple(re.findall(r"`([^`]+)`", cell)) for cell in (publish, subscribe)]
        found[what.replace("`", "")] = (
            tuple(one for one in subjects[0] if one != "allow_responses"),
            subjects[1],
        )
    return found


ROLES = roles()
NODE = "is in the fabric"
MAKES = "makes bucket and stream, and changes the stream's limits"
EXPORTS = "exports, at_least_once"
EXPORTS_LIVE = "exports, at_most_once"
IMPORTS = "imports, at_least_once"
IMPORTS_LIVE = "imports, at_most_once"
OFFERS = "offers erp"
USES = "uses erp"
LEADS = "has a singleton with the name nightly"
FORGETS = "forgets other nodes"


def user(node: str, *what: str) -> str:
    """A user of the server's configuration, with the permissions of these roles for a node of this name."""
    wanted = [ROLES[one] for one in (NODE, *what)]
    lists = [json.dumps([one.replace("desk-7", node) for role in wanted for one in role[side]]) for side in (0, 1)]
    answers = ', allow_responses: { max: 1, expires: "5m" }' if OFFERS in what else ""
    return (
        f'{{ user: "{node}", password: "{node}", permissions: '
        f"{{ publish: {lists[0]}, subscribe: {lists[1]}{answers} }} }}"
    )


@asynccontextmanager
async def _session(server: NatsServer, node: str) -> AsyncIterator["Node"]:
    auth = AuthBasic(type="basic", username=node, password=SecretStr(node))
    endpoint = Endpoint(url=f"nats://127.0.0.1:{server.port}")
    config = NatsConfig(inbox_prefix=f"_INBOX_{node}")
    adapter = NatsAdapter(adapter_setup("test", endpoint, auth, config=config))
    await adapter.connect()
    try:
        yield Node(node, adapter)
    finally:
        await adapter.disconnect()


class Node:
    """A session as a node's user.

    Attributes:
        names: The fabric's names for this node.
        cluster: What a fabric does on the session.
    """

    def __init__(self, node: str, adapter: NatsAdapter) -> None:
        self.names = Names(_FABRIC, node)
        self.cluster: ClusterSession = cluster_of(adapter)
        self._adapter = Direct(adapter)

    async def export(self, *, stored: bool, as_node: str | None = None) -> None:
        """Export an event, under another name where one is given."""
        subject = Names(_FABRIC, as_node or self.names.node).event("order.created", stored=stored)
        await self._adapter.perform(Export(subject=subject, body=b"event", sender="x.y", stored=stored))


def _server(*users: str) -> str:
    """A server's configuration with these users, and `root`, who may do everything."""
    everybody = ", ".join([*users, '{ user: "root", password: "root" }'])
    return f"authorization {{ users: [ {everybody} ] }}\n"


@asynccontextmanager
async def _nodes(**what: Sequence[str]) -> AsyncIterator[list[Node]]:
    """Sessions of nodes with these roles, in their order, at a server that has bucket and stream."""
    with nats_server(_server(*(user(node, *more) for node, more in what.items()))) as server:
        async with AsyncExitStack() as stack:
            root = await stack.enter_async_context(_session(server, "root"))
            await root.cluster.bucket(root.names.bucket, replicas=1)
            await root.cluster.stream(_STREAM)
            yield [await stack.enter_async_context(_session(server, node)) for node in what]


async def _refused(call: Awaitable[object]) -> None:
    """See that the server refuses something at once, and says so."""
    with pytest.raises(RejectedError, match=r"(?i)permissions violation"):
        await asyncio.wait_for(call, 10)


def _ignore(_: object) -> None:
    """Take something, and do nothing with it."""


async def test_every_node_sees_all_and_writes_its_own_key() -> None:
    """It writes its own key by revision, reads and watches all; the keys of others and the leases are not its own."""
    async with _nodes(n1=(), n2=()) as (one, two):
        names, bucket = one.names, one.names.bucket
        seen: dict[str, bytes | None] = {}

        def on_entry(entry: KeyEntry) -> None:
            seen[entry.key] = entry.value

        await two.cluster.create(bucket, names.node_key("n2"), b"there")
        stop = await one.cluster.watch(bucket, on_entry, _ignore)
        assert seen == {"node.n2": b"there"}
        first = await one.cluster.create(bucket, names.node_key("n1"), b"1")
        await one.cluster.update(bucket, names.node_key("n1"), b"2", first)
        with pytest.raises(ConflictError):
            await one.cluster.update(bucket, names.node_key("n1"), b"3", first)
        await until(lambda: seen.get("node.n1") == b"2", "the own key")
        entry = await one.cluster.get(bucket, names.node_key("n2"))
        assert entry is not None
        assert entry.value == b"there"
        await stop()
        await _refused(one.cluster.update(bucket, names.node_key("n2"), b"not me", entry.revision))
        await _refused(one.cluster.create(bucket, names.lease_key("nightly"), b"mine"))


async def test_who_only_exports() -> None:
    """It exports under its own name, in both ways; it pretends to be nobody else, hears nothing and asks nobody."""
    async with _nodes(n1=(EXPORTS, EXPORTS_LIVE), n2=(IMPORTS_LIVE,)) as (one, two):
        heard: list[Received] = []
        await two.cluster.subscribe(two.names.live, heard.append, _ignore)
        await one.export(stored=True)
        assert (await one.cluster.stream_state(_STREAM.name)).last == 1
        await one.export(stored=False)
        await until(lambda: heard, "the event")
        for stored in (True, False):
            await _refused(one.export(stored=stored, as_node="n2"))
        await _refused(one.cluster.subscribe(one.names.live, _ignore, _ignore))
        await _refused(one.cluster.consumer(_STREAM.name, one.names.consumer, one.names.events))
        await _refused(one.cluster.ask(one.names.use("erp"), b"order"))
        await _refused(one.cluster.serve(one.names.use("erp"), GROUP, _ignore, _ignore))


async def test_who_only_imports() -> None:
    """It makes its consumer, reads and acknowledges; it exports nothing, and takes nothing from another's consumer."""
    async with _nodes(n1=(IMPORTS, IMPORTS_LIVE), n2=(IMPORTS, EXPORTS)) as (one, two):
        heard: list[Received] = []
        for node in (one, two):
            await node.cluster.consumer(_STREAM.name, node.names.consumer, node.names.events)
        await two.export(stored=True)

        def handle(message: Received) -> None:
            heard.append(message)

        stop = await one.cluster.consume(_STREAM.name, one.names.consumer, handle, _ignore, prefetch=10)
        await until(lambda: heard, "the event")

        await stop()  # what was acknowledged before has reached the server then
        state = await one.cluster.consumer(_STREAM.name, one.names.consumer, one.names.events)
        assert state.acknowledged == 1
        for stored in (True, False):
            await _refused(one.export(stored=stored))
        await _refused(one.cluster.consumer(_STREAM.name, two.names.consumer, two.names.events))
        await _refused(one.cluster.delete_consumer(_STREAM.name, two.names.consumer))


async def test_who_offers_and_who_uses() -> None:
    """The one answers, each request once and to nobody else; the other asks; neither does what the other does."""
    async with _nodes(n1=(OFFERS,), n2=(USES,)) as (one, two):
        asked: list[Asked] = []

        def answer(request: Asked) -> None:
            asked.append(request)
            request.answer(b"done")

        await one.cluster.serve(one.names.use("erp"), GROUP, answer, _ignore)
        assert await asyncio.wait_for(two.cluster.ask(two.names.use("erp"), b"order"), 10) == b"done"
        assert [request.body for request in asked] == [b"order"]
        await _refused(one.cluster.ask(one.names.use("erp"), b"order"))
        await _refused(one.cluster.serve(one.names.use("printer"), GROUP, answer, _ignore))
        await _refused(two.cluster.serve(two.names.use("erp"), GROUP, answer, _ignore))
        await _refused(two.cluster.ask(two.names.use("printer"), b"page"))
        await _refused(two.cluster.subscribe(f"_INBOX_{one.names.node}.>", _ignore, _ignore))


async def test_who_leads() -> None:
    """It takes and renews the lease of its subscription, and no other one."""
    async with _nodes(n1=(LEADS,)) as (one,):
        key = one.names.lease_key("nightly")
        term = await one.cluster.create(one.names.bucket, key, b"mine")
        await one.cluster.update(one.names.bucket, key, b"still", term)
        await _refused(one.cluster.create(one.names.bucket, one.names.lease_key("hourly"), b"mine"))


async def test_who_forgets_others() -> None:
    """It deletes the key and the consumer of another node."""
    async with _nodes(n1=(FORGETS,), n2=(IMPORTS,)) as (one, two):
        await two.cluster.consumer(_STREAM.name, two.names.consumer, two.names.events)
        revision = await two.cluster.create(two.names.bucket, two.names.node_key("n2"), b"there")
        await one.cluster.delete_consumer(_STREAM.name, two.names.consumer)
        await one.cluster.delete(one.names.bucket, one.names.node_key("n2"), revision)
        entry = await one.cluster.get(one.names.bucket, one.names.node_key("n2"))
        assert entry is None or entry.value is None


async def test_who_makes_bucket_and_stream() -> None:
    """It makes both at an empty server and changes the stream; who may not is refused, and names what is missing."""
    with nats_server(_server(user("n1", MAKES, EXPORTS), user("n2", EXPORTS))) as server:
        async with _session(server, "n1") as one, _session(server, "n2") as two:
            await _refused(two.cluster.bucket(two.names.bucket, replicas=1))
            await _refused(two.cluster.stream(_STREAM))
            await one.cluster.bucket(one.names.bucket, replicas=1)
            assert (await one.cluster.stream(_STREAM)).subjects == _STREAM.subjects
            await one.cluster.change_stream(StreamSpec(name=_STREAM.name, subjects=_STREAM.subjects, max_age=60.0))
            assert (await two.cluster.stream(_STREAM)).max_age == 60.0


def test_the_example_has_the_permissions_of_its_roles() -> None:
    """The page's configuration of a server is the sum of the rows that it names."""
    text = _PAGE.read_text("utf-8")
    (block,) = re.findall(r"^```text\n(jetstream \{.*?)^```", text, re.MULTILINE | re.DOTALL)
    publish = re.findall(r'^ {10}"(.+)"$', block, re.MULTILINE)
    wanted = [ROLES[one] for one in (NODE, MAKES, EXPORTS, IMPORTS, USES, LEADS)]
    assert publish == list(dict.fromkeys(subject for role in wanted for subject in role[0]))
    assert re.findall(r"subscribe: \[ (.+) \]", block) == ['"_INBOX_desk-7.>"']
    assert {NODE, MAKES, EXPORTS, EXPORTS_LIVE, IMPORTS, IMPORTS_LIVE, OFFERS, USES, LEADS, FORGETS} == set(ROLES)


def _bridge(server: NatsServer, node: str, more: str, role: str) -> str:
    """The configuration of a whole bridge that has a node's user."""
    return f"""
integration "cluster" {{
  type = "nats"
  endpoint {{
    url = "nats://127.0.0.1:{server.port}"
  }}
  auth {{
    type     = "basic"
    username = "{node}"
    password = "{node}"
  }}
  config {{
    inbox_prefix = "_INBOX_{node}"
  }}
}}

fabric "{_FABRIC}" {{
  integration = "cluster"
  node        = "{node}"
  export      = ["order.*"]
  import      = ["order.*"]
  {role}      = ["erp"]
  delivery    = "at_least_once"
}}

integration "clock" {{
  type = "timer"
  config {{
    schedule "nightly" {{
      every = "1s"
    }}
  }}
}}

subscription "nightly" {{
  integration = "clock"
  topic       = "nightly"
  emit        = "report.due"
  singleton   = "{_FABRIC}"
}}
{more}
"""


@pytest.mark.slow
async def test_whole_bridges_need_no_more() -> None:
    """Two bridges with these permissions exchange events, commands and the lease, and have nothing to complain of."""
    erp = 'integration "erp" {\n  type = "static"\n  config {\n    values = {\n      paper = 450\n    }\n  }\n}\n'
    users = user("n1", MAKES, EXPORTS, IMPORTS, USES, LEADS), user("n2", EXPORTS, IMPORTS, OFFERS, LEADS)
    with (
        nats_server(_server(*users)) as server,
        sidecar(_bridge(server, "n1", "", "use")) as first,
        first.program() as one,
        sidecar(_bridge(server, "n2", erp, "offer")) as second,
        second.program() as two,
        Ear(second.publish, second.subscribe, ("order.",)) as ear,
    ):
        for program in (one, two):
            await program.wait(f"health.fabric.{_FABRIC}", lambda event: event["payload"]["status"] == "connected")
        await one.wait("health.erp", lambda event: event["payload"]["status"] == "connected")
        one.emit("order.created", {"id": 7}, headers={})
        await until(lambda: ear.pump() or ear.heard, "the order on the other bus")
        assert ear.heard[0]["headers"]["origin"] == "n1"
        answer = await one.request("erp", "get", {"key": "paper"})
        assert (answer["ok"], answer["result"]) == (True, 450)
        await until(lambda: one.seen("report.due") or two.seen("report.due"), "a tick")
        for program in (one, two):
            health = program.seen(f"health.fabric.{_FABRIC}")[-1]["payload"]
            assert (health["status"], health["error"], health["warnings"]) == ("connected", None, [])
        assert "permissions" not in (first.text + second.text).lower()
