"""Redis: credentials, TLS, and servers that die or freeze."""

import asyncio
import contextlib
import datetime as dt

import pytest
from pydantic import SecretStr

from bridge.adapters.redis import SPEC
from bridge.adapters.redis.config import RedisConfig
from bridge.core.endpoint import AuthBasic, AuthCertificate, Endpoint, Tls
from bridge.core.errors import AuthError, BridgeError, ConnectionLostError, NotConnectedError
from tests.support.adapters.setup import adapter_setup
from tests.support.servers.redis_server import redis_sentinel, redis_server, redis_session
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
            with pytest.raises(AuthError) as caught:
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
            assert [error.kind for error in lost] == ["connection_lost"]
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
        async with nonsense(HELLO, reply) as server, redis_session(server, max_length=10, max_deliveries=1) as session:
            with contextlib.suppress(BridgeError, TimeoutError):
                async with asyncio.timeout(0.1):
                    await operation(session)


@pytest.mark.parametrize("reply", NONSENSE)
async def test_a_read_that_makes_no_sense(reply):
    """After a group was made as it should be, each shape of nonsense ends the reading with an error and no bug."""
    reply += b"*0\r\n" if reply.startswith(b">") else b""  # a push message is no answer
    lost = []
    async with (
        nonsense(HELLO, HELLO, b"+OK\r\n", reply) as server,
        redis_session(server, max_deliveries=1, lost=lost) as session,
    ):
        await session.consume("queue", lambda _: None)
        await until(lambda: lost or server.answered > 6)
    async with nonsense(HELLO, b"+OK\r\n", reply) as server, redis_session(server, max_deliveries=1) as session:
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
