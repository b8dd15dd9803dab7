"""Redis: credentials, TLS, and servers that die or freeze."""

import asyncio
import contextlib
import datetime as dt
from contextlib import AsyncExitStack

import pytest
from pydantic import SecretStr

from bridge.adapters.redis import SPEC
from bridge.adapters.redis.config import RedisConfig
from bridge.adapters.redis.target import targets, warn_of
from bridge.core.endpoint import AuthBasic, AuthCertificate, Endpoint, Tls
from bridge.core.errors import (
    AuthError,
    BridgeError,
    ConnectionLostError,
    NotConnectedError,
    RejectedError,
    UnavailableError,
)
from tests.support.adapters.setup import adapter_setup
from tests.support.servers.redis_server import Told, redis_sentinel, redis_server, redis_session
from tests.support.servers.tls import Certificates, make_certificates
from tests.support.wait import until


def basic(password, username=None):
    """Credentials."""
    return AuthBasic(type="basic", username=username, password=SecretStr(password))


async def refusal(server, **settings):
    """What connecting fails with."""
    with pytest.raises(BridgeError) as caught:
        async with redis_session(server, **settings):
            pass
    return caught.value


# --- credentials


async def test_a_password_alone():
    """The right one opens; a wrong one and none are `auth`, which needs a person, and no message holds them."""
    with redis_server("--requirepass", "s3cret") as server:
        async with redis_session(server, auth=basic("s3cret")) as session:
            await session.enqueue("queue", 1)
        for settings in ({"auth": basic("wr0ng")}, {}):
            error = await refusal(server, **settings)
            assert isinstance(error, AuthError)
            assert error.permanent
            assert "wr0ng" not in error.message


async def test_an_acl_user():
    """Name and password; what its rights forbid is that call's error."""
    with redis_server(
        "--user", "app", "on", ">pw", "~queue*", "&*", "+@all", "-ping", "--user", "default", "off"
    ) as server:
        async with redis_session(server, auth=basic("pw", "app")) as session:
            await session.enqueue("queue", 1)
            with pytest.raises(RejectedError) as caught:
                await session.enqueue("other", 1)
            assert caught.value.code == "NOPERM"
            assert not caught.value.permanent
            await session.check()  # PING is forbidden, which only a living server says
        assert (await refusal(server, auth=basic("pw", "nobody"))).permanent


async def test_databases():
    """Each integration has its own keys."""
    with redis_server() as server:
        async with redis_session(server, db=3) as session:
            await session.enqueue("queue", 1)
        with server.client(db=3) as third, server.client() as first:
            assert (third.exists("queue"), first.exists("queue")) == (1, 0)
        assert isinstance(await refusal(server, db=99), NotConnectedError)


# --- TLS


@pytest.fixture
def certificates(tmp_path) -> Certificates:
    """New authorities."""
    return make_certificates(tmp_path)


def server_files(certificates, host="127.0.0.1", *, unknown_ca=False, expired=False):
    """Certificate, key and authority files for a server."""
    ended = dt.datetime(2020, 1, 1, tzinfo=dt.UTC) if expired else None
    started = dt.datetime(2019, 1, 1, tzinfo=dt.UTC) if expired else None
    authority = certificates.unknown if unknown_ca else certificates.trusted
    issued = authority.issue_cert(host, not_before=started, not_after=ended)
    cert, key = certificates.folder / "server.pem", certificates.folder / "server.key"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    return cert, key, certificates.ca_file


async def test_good_tls(certificates):
    """Encrypted, with all that the plain connection can."""
    with redis_server(tls=server_files(certificates)) as server:
        async with redis_session(server, tls=Tls(ca=certificates.ca_file)) as session:
            got = []

            async def deliver(message):
                got.append(message.message)

            await session.subscribe("topic", deliver)
            await session.consume("queue", deliver)
            await session.publish("topic", 1)
            await session.enqueue("queue", 2)
            await until(lambda: sorted(got) == [1, 2])
            await session.check()


@pytest.mark.parametrize(
    ("made", "words"),
    [({"expired": True}, "expired"), ({"host": "other.example"}, "127.0.0.1"), ({"unknown_ca": True}, "issuer")],
)
async def test_bad_certificates(certificates, made, words):
    """Each needs a person, and says why."""
    with redis_server(tls=server_files(certificates, **made)) as server:
        error = await refusal(server, tls=Tls(ca=certificates.ca_file), auth=basic("s3cret"))
        assert isinstance(error, NotConnectedError)
        assert error.permanent
        assert words in error.message


async def test_a_name_of_its_own(certificates):
    """`server_name` is what the certificate must carry."""
    with redis_server(tls=server_files(certificates, "redis.example")) as server:
        async with redis_session(server, tls=Tls(ca=certificates.ca_file, server_name="redis.example")) as session:
            await session.check()


async def test_client_certificates(certificates):
    """A good one opens; none and one of an unknown authority are `auth`."""
    trust = Tls(ca=certificates.ca_file)
    with redis_server(tls=server_files(certificates), clients="yes") as server:
        cert, key = certificates.client_files()
        async with redis_session(
            server, tls=trust, auth=AuthCertificate(type="certificate", cert=cert, key=key)
        ) as session:
            await session.check()
        cert, key = certificates.client_files(unknown_ca=True)
        unknown = AuthCertificate(type="certificate", cert=cert, key=key)
        for settings in ({}, {"auth": unknown}):
            error = await refusal(server, tls=trust, **settings)
            assert isinstance(error, AuthError | NotConnectedError)


async def test_never_plaintext_where_tls_was_asked(certificates):
    """A server without TLS gets a hello that it cannot read, and nothing else: above all no password."""
    heard = bytearray()
    done = asyncio.Event()

    async def listen(reader, writer):
        heard.extend(await reader.read(1000))
        writer.write(b"-ERR unknown command\r\n")
        with contextlib.suppress(ConnectionError):
            heard.extend(await reader.read())
        writer.close()
        done.set()

    class Plain:
        """What `redis_session` needs of a server."""

        endpoint = None

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as listener:
        with redis_server() as server:
            Plain.endpoint = server.endpoint.model_copy(update={"port": listener.sockets[0].getsockname()[1]})
        error = await refusal(Plain, tls=Tls(ca=certificates.ca_file), auth=basic("s3cret"))
        await done.wait()
    assert isinstance(error, NotConnectedError)
    assert b"s3cret" not in heard
    assert b"AUTH" not in heard


# --- Sentinel


async def test_a_sentinel_names_the_master():
    """Asked anew by each session; credentials and database are the master's."""
    with (
        redis_server("--requirepass", "s3cret") as first,
        redis_server("--requirepass", "s3cret") as second,
        redis_sentinel("shop", first) as sentinel,
    ):
        for server in (first, second):
            with sentinel.client() as client:
                client.execute_command("SENTINEL", "REMOVE", "shop")
                client.execute_command("SENTINEL", "MONITOR", "shop", "127.0.0.1", server.port, 1)
            async with redis_session(sentinel, auth=basic("s3cret"), sentinel="shop", db=2) as session:
                await session.enqueue("queue", 1)
                await session.check()
            with server.client(password="s3cret", db=2) as client:
                assert client.xlen("queue") == 1
        unknown = await refusal(sentinel, sentinel="other")
        assert isinstance(unknown, NotConnectedError)
        assert unknown.permanent


async def test_no_sentinel():
    """A server that is none says so; one that is not there is tried again."""
    with redis_server() as server:
        error = await refusal(server, sentinel="shop")
        assert isinstance(error, NotConnectedError)
        assert error.permanent
        server.kill()
        error = await refusal(server, sentinel="shop")
        assert isinstance(error, NotConnectedError)
        assert not error.permanent


async def test_a_sentinel_that_is_away():
    """Another one of the configuration is asked, and later those that it has named."""
    state = {}
    with redis_server() as master, redis_server() as gone, redis_sentinel("shop", master) as sentinel:
        gone.kill()
        address = f"127.0.0.1:{sentinel.port}"
        async with redis_session(gone, sentinel="shop", sentinels=(address,), state=state) as session:
            await session.enqueue("queue", 1)
        with pytest.raises(NotConnectedError):
            async with redis_session(gone, sentinel="shop", state={}):
                pass
        state["sentinels"] = (("127.0.0.1", sentinel.port),)  # as another Sentinel names it
        async with redis_session(gone, sentinel="shop", state=state) as session:
            await session.enqueue("queue", 2)
        with master.client() as client:
            assert client.xlen("queue") == 2


async def test_what_sentinels_say_of_each_other():
    """Their addresses are remembered for the next session; nonsense among them harms nothing."""
    state = {}
    others = b"*2\r\n%2\r\n+ip\r\n+10.0.0.7\r\n+port\r\n+26379\r\n*4\r\n+ip\r\n+a..b\r\n+port\r\n+1\r\n"
    with redis_server() as master:
        found = b"*2\r\n+127.0.0.1\r\n+%d\r\n" % master.port
        async with (
            nonsense(HELLO, others + found) as sentinel,
            redis_session(sentinel, sentinel="shop", state=state) as session,
        ):
            await session.check()
    assert state["sentinels"] == (("10.0.0.7", 26379),)


async def test_a_master_that_is_none_any_more():
    """A Sentinel that does not know that yet is not believed, and the next session asks another one first."""
    state = {}
    with redis_server() as master, redis_server() as demoted:
        with demoted.client() as client:
            client.replicaof("127.0.0.1", master.port)
        with redis_sentinel("shop", master) as right, redis_sentinel("shop", demoted) as wrong:
            settings = {"sentinel": "shop", "sentinels": (f"127.0.0.1:{right.port}",), "state": state}
            with pytest.raises(NotConnectedError, match="no master any more, but a replica"):
                async with redis_session(wrong, **settings):
                    pass
            async with redis_session(wrong, **settings) as session:
                await session.enqueue("queue", 1)
        with master.client() as client:
            assert client.xlen("queue") == 1


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("192.0.2.7", True)])
def test_credentials_in_the_clear_to_a_server_that_was_named(host, warned):
    """A Sentinel or node on this machine may name a server elsewhere: a password that goes there is warned of."""
    told = Told()
    setup = adapter_setup(
        "test",
        Endpoint(address="127.0.0.1", port=26379),
        auth=basic("s3cret"),
        config=(config := RedisConfig(sentinel="x")),
        **told.callbacks(),
    )
    warn_of(setup, config, targets(setup, config)[0].at(host, 6379))
    assert [("password travels unencrypted" in text) for text in told.warnings.values()] == [True] * warned
    assert "s3cret" not in str(told.warnings)


# --- servers that are not the right one any more


async def test_a_master_that_becomes_a_replica():
    """Another session is asked for, with the server's reason; the call was surely not made."""
    told = Told()
    with redis_server() as server, server.client() as client:
        async with redis_session(server, told=told) as session:
            await session.enqueue("queue", 1)
            client.replicaof("127.0.0.1", 1)
            with pytest.raises(UnavailableError) as caught:
                await session.enqueue("queue", 2)
            assert (caught.value.code, caught.value.maybe_sent) == ("READONLY", False)
            assert [error.code for error in told.outdated] == ["READONLY"]
            assert not told.lost
        async with redis_session(server, told=told) as session:
            assert "takes no messages" in told.warnings["replica"]


@pytest.mark.parametrize("code", ["LOADING", "MASTERDOWN", "BUSY"])
async def test_a_server_that_cannot_serve_yet(code):
    """It is not connected to; when it says so later, another session is asked for, unless it is only busy."""
    refusal_reply = b"-%s wait\r\n" % code.encode()
    async with nonsense(HELLO, refusal_reply) as server:
        error = await refusal(server)
        assert isinstance(error, NotConnectedError)
        assert not error.permanent
    told = Told()
    async with nonsense(HELLO, PONG, refusal_reply) as server, redis_session(server, told=told) as session:
        assert isinstance(await outcome(session.enqueue("queue", 1)), UnavailableError)
    assert [error.code for error in told.outdated] == ([] if code == "BUSY" else [code])


# --- the end of one connection


async def test_the_connection_for_commands_is_opened_again():
    """Subscriptions do not notice. Where it cannot be opened, the session is lost, with the reason."""
    told, got = Told(), []

    async def deliver(message):
        got.append(message.message)

    with redis_server() as server, server.client() as client:
        async with redis_session(server, told=told) as session:
            await session.subscribe("topic", deliver)
            await session.consume("queue", deliver)
            for _ in range(2):
                await session.ack("1-0/other")
                (commands,) = [one["id"] for one in client.client_list() if one["cmd"] == "xack"]
                opened = client.info("stats")["total_connections_received"]
                client.client_kill_filter(_id=commands)
                await until(lambda: client.info("stats")["total_connections_received"] > opened)  # noqa: B023
                await until(lambda: session.adapter._commands)
                await session.check()
            await session.publish("topic", 1)
            await session.enqueue("queue", 2)
            await until(lambda: sorted(got) == [1, 2])
            assert (told.lost, told.ended) == ([], [])
            server.kill()
            await until(lambda: told.lost)
            for operation in (lambda: session.enqueue("queue", 3), session.check):
                with pytest.raises(NotConnectedError, match="the session has ended: no connection to"):
                    await operation()


async def test_unsubscribing_while_the_connection_for_commands_is_away():
    """It ends at once: nothing more is delivered, and no entry acknowledged, for a subscription that is over."""
    got = []

    async def deliver(message):
        got.append(message.message)

    with redis_server() as server, server.client() as client:
        async with redis_session(server) as session:
            made = [await session.subscribe("topic", deliver), await session.consume("queue", deliver)]
            session.adapter._backoff.failures = 4  # so that it waits for most of a second before it is opened again
            await session.ack("1-0/other")
            (commands,) = [one["id"] for one in client.client_list() if one["cmd"] == "xack"]
            client.client_kill_filter(_id=commands)
            await until(lambda: session.adapter._commands is None)
            for subscription in made:
                await session.unsubscribe(subscription)
            assert session.adapter._commands is None
            assert client.publish("topic", 1) == 0
            client.xadd("queue", {"data": 1})
            await until(lambda: session.adapter._commands)
            await session.check()
            assert client.xinfo_groups("queue")[0]["lag"] in {1, None}
            assert got == []


async def test_one_connection_that_is_silent():
    """If the server answers on others, the one for commands is opened again, and data is a sign of life."""
    told = Told()
    async with AsyncExitStack() as stack:
        silent = asyncio.Event()

        async def talk(reader, writer):
            first = not silent.is_set()
            silent.set()
            writer.write(HELLO)
            with contextlib.suppress(ConnectionError):
                await reader.read(1000)
                while data := await reader.read(1000):
                    if not (first and talk.stalls):
                        writer.write(b"".join(PONG for _ in range(data.count(b"PING"))) or SUBSCRIBED)
            writer.close()

        talk.stalls = False
        listener = await stack.enter_async_context(await asyncio.start_server(talk, "127.0.0.1", 0))

        class Server:
            """What `redis_session` needs of a server."""

            endpoint = Endpoint(address="127.0.0.1", port=listener.sockets[0].getsockname()[1])

        session = await stack.enter_async_context(redis_session(Server, told=told))
        await session.subscribe("topic", lambda _: None)
        await session.check()
        talk.stalls = True
        asked = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await session.check()
        assert session.last_heard >= asked
        await until(lambda: session.adapter._commands)
        await session.check()
        assert (told.lost, told.ended) == ([], [])


async def test_a_server_that_ends_idle_connections():
    """With a `timeout` no Pub/Sub message is lost, and soon no connection ends any more."""
    told, got, state = Told(), [], {}

    async def deliver(message):
        got.append(message.message)

    with redis_server("--timeout", "1") as server:
        async with redis_session(server, told=told, state=state) as session:
            await session.subscribe("topic", deliver)
            assert await session.dequeue("queue", wait=0.01) is None
            with server.client() as client:
                sent = 0
                while not state:  # about two seconds later, the server ends what was idle
                    client.publish("topic", sent)
                    sent += 1
                    await asyncio.sleep(0.02)
                await until(lambda: len(got) == sent)
                assert state["keep_alive"] >= 1.0
                opened = [client.info("stats")["total_connections_received"]]
                while len(opened) < 5 and (len(opened) == 1 or opened[-1] > opened[-2] + 1):  # one is our own client's
                    await asyncio.sleep(2.5)
                    opened.append(client.info("stats")["total_connections_received"])
                assert opened[-1] <= opened[-2] + 1  # on a busy machine the first time may teach too long an interval
            assert got == list(range(sent))
            assert await session.dequeue("queue", wait=0.01) is None
            assert (told.lost, told.ended) == ([], [])


# --- death and frost


async def test_everything_in_flight_fails_at_once_when_the_server_dies():
    """With the declared kind, outcome unknown; the loss is told once; what comes after was surely not sent."""
    with redis_server() as server:
        lost = []
        async with redis_session(server, lost=lost) as session:

            async def deliver(_):
                pass

            await session.subscribe("topic", deliver)
            await session.consume("queue", deliver)
            async with asyncio.TaskGroup() as group, asyncio.timeout(5):
                server.freeze()
                calls = [group.create_task(outcome(session.enqueue("queue", n))) for n in range(5)]
                calls += [group.create_task(outcome(session.publish("topic", n))) for n in range(5)]
                calls += [group.create_task(outcome(session.dequeue("other", wait=60.0)))]
                await asyncio.sleep(0)
                server.kill()
                for call in calls:
                    error = await call
                    assert isinstance(error, ConnectionLostError)
                    assert error.maybe_sent
            await until(lambda: lost)
            for call in (session.enqueue("queue", 1), session.check(), session.dequeue("q"), session.ack("1-0/q")):
                assert isinstance(await outcome(call), NotConnectedError)
        assert len(lost) == 1


async def outcome(call):
    """The error of a call."""
    try:
        await call
    except BridgeError as error:
        return error
    return None


async def test_closing_before_a_frozen_server():
    """Does not wait for it, even with a write that it never took."""
    with redis_server() as server:
        lost = []
        async with asyncio.TaskGroup() as group:
            async with redis_session(server, lost=lost) as session:
                server.freeze()
                call = group.create_task(outcome(session.enqueue("queue", "x" * 20_000_000)))
                await asyncio.sleep(0)
                began = asyncio.get_running_loop().time()
            assert asyncio.get_running_loop().time() - began < 5
            assert isinstance(await call, ConnectionLostError)
        assert not lost  # it was closed, not lost
        server.thaw()


async def test_a_command_is_sent_once():
    """To a frozen server: redis-py's own retry would add it again."""
    with redis_server() as server:
        async with redis_session(server) as session:
            server.freeze()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await session.enqueue("queue", 1)
            server.thaw()
            await session.check()
            with server.client() as client:
                assert client.xlen("queue") == 1


async def test_cancelling_one_call_harms_no_other():
    """Replies still find their callers."""
    with redis_server() as server:
        async with redis_session(server) as session, asyncio.TaskGroup() as group:
            calls = [group.create_task(session.enqueue(f"queue{n}", n)) for n in range(100)]
            await asyncio.sleep(0)
            for call in calls[::3]:
                call.cancel()
            rest = [call for n, call in enumerate(calls) if n % 3]
            names = [(await call).split("/")[1] for call in rest]
            assert names == [f"queue{n}" for n in range(100) if n % 3]


async def test_a_server_that_speaks_something_else():
    """Is said to, and nothing hangs."""

    async def talk(_, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    class Web:
        """What `redis_session` needs of a server."""

        endpoint = None

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as listener:
        with redis_server() as server:
            Web.endpoint = server.endpoint.model_copy(update={"port": listener.sockets[0].getsockname()[1]})
        error = await refusal(Web)
    assert isinstance(error, NotConnectedError)


# --- servers whose replies make no sense


@contextlib.asynccontextmanager
async def nonsense(*replies):
    """A server that answers each write with the next of these, and with the last one for ever."""
    left = list(replies)

    async def talk(reader, writer):
        with contextlib.suppress(ConnectionError):
            while await reader.read(65_536):
                writer.write(left.pop(0) if len(left) > 1 else left[0])
                Server.answered += 1
        writer.close()

    class Server:
        """What `redis_session` needs of a server."""

        endpoint = None
        answered = 0

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as listener:
        Server.endpoint = Endpoint(address="127.0.0.1", port=listener.sockets[0].getsockname()[1])
        yield Server


SUBSCRIBED = b">3\r\n+subscribe\r\n+topic\r\n:1\r\n"
PONG = b"+PONG\r\n"
HELLO = b"%1\r\n+proto\r\n:3\r\n"
NONSENSE = [
    b"-ASK 1\r\n",
    b"-MOVED x y\r\n",
    b"*1\r\n-ASK nowhere\r\n",
    b"%1\r\n*0\r\n+x\r\n",
    b">0\r\n",
    b">1\r\n*0\r\n",
    b">3\r\n+message\r\n*0\r\n_\r\n",
    b":5\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",1.5\r\n",
    b"*0\r\n",
    b"%0\r\n",
    b"+OK\r\n",
    b"(99999999999999999999999999\r\n",
    b"*1\r\n*1\r\n:1\r\n",
    b"*1\r\n*2\r\n+q\r\n*1\r\n*2\r\n+1-0\r\n:1\r\n",
    b"*1\r\n*2\r\n+q\r\n*1\r\n*2\r\n+1-0\r\n*2\r\n+data\r\n*0\r\n",
    b"*1\r\n*4\r\n+1-0\r\n+x\r\n:1\r\n+x\r\n",
]


@pytest.mark.parametrize("reply", NONSENSE)
async def test_a_reply_that_makes_no_sense(reply):
    """Is an error of its call or the end of the session, and never a bug of ours, which would end the process."""
    operations = {
        "enqueue": lambda session: session.enqueue("queue", 1),
        "publish": lambda session: session.publish("topic", 1),
        "dequeue": lambda session: session.dequeue("queue"),
        "nack": lambda session: session.nack("1-0/queue"),
        "subscribe": lambda session: session.subscribe("topic", lambda _: None),
        "consume": lambda session: session.consume("queue", lambda _: None),
        "check": lambda session: session.check(),
    }
    for operation in operations.values():
        async with (
            nonsense(HELLO, PONG, reply) as server,
            redis_session(server, max_length=10, max_deliveries=1) as session,
        ):
            with contextlib.suppress(BridgeError, TimeoutError):
                async with asyncio.timeout(0.1):
                    await operation(session)


@pytest.mark.parametrize("surplus", [b"+OK\r\n", b"|1\r\n+ttl\r\n:1\r\n", b"_\r\n", b">-1\r\n"])
async def test_a_reply_to_no_command(surplus):
    """It ends the connection, so that no later command gets the answer to another one."""
    told = Told()
    async with (
        nonsense(HELLO, PONG, surplus + b":1\r\n", HELLO, PONG, b":7\r\n") as server,
        redis_session(server, told=told) as session,
    ):
        with contextlib.suppress(BridgeError):
            await session.publish("topic", 1)
        await until(lambda: server.answered == 5)
        await until(lambda: session.adapter._commands)
        assert await session.publish("topic", 2) == {"receivers": 7}


@pytest.mark.parametrize("reply", NONSENSE)
async def test_a_read_that_makes_no_sense(reply):
    """After a group was made as it should be, each shape of nonsense ends the reading with an error and no bug."""
    reply += b"*0\r\n" if reply.startswith(b">") else b""  # a push message is no answer
    told = Told()
    async with (
        nonsense(HELLO, PONG, HELLO, b"+OK\r\n", reply) as server,
        redis_session(server, max_deliveries=1, told=told) as session,
    ):
        await session.consume("queue", lambda _: None)
        await until(lambda: told.ended or told.dropped or server.answered > 7)
    async with nonsense(HELLO, PONG, b"+OK\r\n", reply) as server, redis_session(server, max_deliveries=1) as session:
        with contextlib.suppress(BridgeError, TimeoutError):
            async with asyncio.timeout(0.1):
                await session.dequeue("queue")


@pytest.mark.parametrize("reply", NONSENSE)
async def test_a_map_of_a_cluster_that_makes_no_sense(reply):
    """And an answer of a Sentinel: no session is made, with an error that says so."""
    async with nonsense(HELLO, reply) as server:
        for config in ({"cluster": True}, {"sentinel": "shop"}):
            setup = adapter_setup("test", server.endpoint, config=RedisConfig(**config))
            adapter = SPEC.create(setup)
            try:
                with pytest.raises((BridgeError, TimeoutError)):
                    async with asyncio.timeout(0.2):
                        await adapter.connect()
            finally:
                await adapter.disconnect()
