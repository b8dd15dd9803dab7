"""The command `nemo-bridge mock`: stand in for the JSON-RPC and HTTP remotes of a configuration, on this machine."""

import errno
import queue
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

from bridge.cli import sidecar
from bridge.cli.mock_remote import Behaviour, MockRemote
from bridge.cli.mock_server import HttpListener, Listener, Show, WebSocketListener
from bridge.cli.options import seconds
from bridge.cli.stand_ins import PROTOCOLS, can_stand_in, server_of
from bridge.cli.terminal import failure, say
from bridge.config import Configuration, Integration
from bridge.config.diagnostics import near, one_of
from bridge.core.endpoint import ResolvedEndpoint, with_port
from bridge.core.errors import InvalidError
from bridge.core.redaction import Redactor

#: Lines that may wait for a terminal that does not take them; then answers wait, too.
_MOST_LINES: Final = 10_000
_LOOPBACK: Final = "127.0.0.1"
#: The first port that is suggested for a remote that is not on this machine.
_FIRST_SUGGESTED: Final = 8081
_WEBSOCKET: Final = frozenset({"ws", "wss"})


class Options(msgspec.Struct, frozen=True):
    """The options of the command, as they were given: texts of the form `NAME=VALUE`.

    Attributes:
        fail: Which stand-ins fail, `NAME=COUNT` for the next calls or `NAME` for all.
        delay: How long each waits before it answers.
        answer: What each answers, as JSON.
        port: Where each listens in place of where its endpoint is.
    """

    fail: Sequence[str] = ()
    delay: Sequence[str] = ()
    answer: Sequence[str] = ()
    port: Sequence[str] = ()


class Place(msgspec.Struct):
    """An address to listen at, and who is reached there.

    Attributes:
        host: An IP address of this machine.
        port: The port; 0 for any that is free.
        websocket: Whether it speaks WebSocket, and not plain HTTP.
        remotes: The stand-ins that are reached there, by their paths.
    """

    host: str
    port: int
    websocket: bool
    remotes: list[MockRemote] = msgspec.field(default_factory=list)

    def listen(self, show: Show) -> Listener:
        """Listen there. Raises OSError where that is not possible."""
        if self.websocket:
            return WebSocketListener(self.host, self.port, self.remotes, show)
        return HttpListener(self.host, self.port, self.remotes, show)


class Plan(msgspec.Struct):
    """Who is stood in for, where, and who is not.

    Attributes:
        places: The addresses to listen at.
        elsewhere: Remotes that are on another machine or use TLS: the integration, and where the remote is.
        others: Integrations of protocols that have no stand-ins.
    """

    places: list[Place] = msgspec.field(default_factory=list)
    elsewhere: list[tuple[Integration, ResolvedEndpoint]] = msgspec.field(default_factory=list)
    others: list[Integration] = msgspec.field(default_factory=list)

    @property
    def remotes(self) -> list[MockRemote]:
        """All stand-ins."""
        return [remote for place in self.places for remote in place.remotes]

    def add(self, place: Place, remote: MockRemote) -> None:
        """Add a stand-in, to the place at the same address where there is one.

        Raises:
            InvalidError: That one speaks another protocol.
        """
        for one in self.places:
            if place.port and (one.host, one.port) == (place.host, place.port):
                if one.websocket != place.websocket:
                    names = f"{one.remotes[0].name} and {remote.name}"
                    why = f"{names} are at port {one.port}, and only one of them uses WebSocket"
                    raise InvalidError(f"{why}; choose another port for the stand-in: --port {remote.name}=…")
                one.remotes.append(remote)
                return
        place.remotes.append(remote)
        self.places.append(place)


def run(files: Sequence[Path], pairs: Sequence[str], options: Options) -> None:
    """Stand in for the remotes of a configuration until Ctrl-C or SIGTERM, and show each call.

    Args:
        files: HCL files, or directories of them.
        pairs: Variables, as `NAME=VALUE`.
        options: How the stand-ins behave.

    Raises:
        ConfigError: The configuration has errors.
        InvalidError: An option is wrong, or there is nothing to stand in for.
        typer.Exit: An address cannot be listened at; the person was told why.
    """
    configuration = sidecar.read(files, pairs, with_placeholders=True)  # a stand-in needs no secrets
    plan = make_plan(configuration, options)
    if not plan.places:
        raise InvalidError("; ".join(["there is no remote to stand in for", *_left_out(plan)]))
    width = max(len(one.name) for one in plan.remotes)
    lines: queue.Queue[str] = queue.Queue(_MOST_LINES)

    def show(name: str, line: str) -> None:
        lines.put(f"{datetime.now().astimezone():%H:%M:%S}  {name:<{width}}  {line}")

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as listening:
        try:
            for place in plan.places:
                listener = _listen(place, show)
                listener.start()
                listening.callback(listener.stop)
                _introduce(place, listener.port, Redactor(configuration.secrets))
            for line in _left_out(plan):
                say(line)
            say("Each call is shown below. Ctrl-C stops the stand-ins.")
            while True:
                say(lines.get())
        except KeyboardInterrupt:
            say(f"stopped; calls: {', '.join(f'{one.name} {one.number}' for one in plan.remotes)}")


def _listen(place: Place, show: Show) -> Listener:
    """Listen at a place.

    Raises:
        typer.Exit: That is not possible; the person was told why.
    """
    try:
        return place.listen(show)
    except OSError as error:
        name, at = place.remotes[0].name, with_port(place.host, place.port)
        why = "another program listens there; stop it" if error.errno == errno.EADDRINUSE else f"{error.strerror}"
        advice = f"or choose another port in the configuration, or here by --port {name}=…"
        raise failure(f"{name}: cannot listen at {at}: {why}, {advice}") from None


def _introduce(place: Place, port: int, redactor: Redactor) -> None:
    scheme = "ws" if place.websocket else "http"
    for remote in place.remotes:
        url = redactor.text(f"{scheme}://{with_port(place.host, port)}{remote.path}")
        say(f"{remote.name}: {remote.integration.type} at {url}")
        if remote.moved:
            say(f"  its endpoint is elsewhere; for this stand-in it must be {url}, for example by a variable and --var")


def _left_out(plan: Plan) -> list[str]:
    """Return for whom nothing stands in, and what to do about it, one line each."""
    used = {place.port for place in plan.places}
    free = (port for port in count(_FIRST_SUGGESTED) if port not in used)
    lines = []
    for one, server in plan.elsewhere:
        why = "uses TLS" if server.loopback else "is not on this machine"
        lines.append(
            f"no stand-in for {one.id}, because its endpoint {server.scheme}://{server.name} {why}; "
            f"for one on this machine: --port {one.id}={next(free)}"
        )
    if plan.others:
        listed = ", ".join(f"{one.id} ({one.type})" for one in plan.others)
        lines.append(f"no stand-in for {listed}: this needs the real server")
    return lines


# --- the configuration and the options


def make_plan(configuration: Configuration, options: Options) -> Plan:
    """Decide who is stood in for, where, and how.

    Raises:
        InvalidError: An option is wrong, or two remotes cannot be at one address.
    """
    known = [one.id for one in configuration.integrations.values() if one.type in PROTOCOLS]
    ports = {name: _port(name, text) for name, text in _pairs("--port", options.port, known).items()}
    behaviours = _behaviours(options, known)
    redactor = Redactor(configuration.secrets)
    plan = Plan()
    for one in configuration.integrations.values():
        server = server_of(one)
        if server is None:
            if one.spec.needs_endpoint:
                plan.others.append(one)
            continue
        fits = can_stand_in(server)
        if not fits and one.id not in ports:
            plan.elsewhere.append((one, server))
            continue
        host, port = (_address(server.host) if fits else _LOOPBACK), ports.get(one.id, server.port)
        remote = MockRemote(
            one,
            f"/{server.path.partition('?')[0].lstrip('/')}",
            behaviours.get(one.id, Behaviour()),
            redactor,
            _notifications(configuration, one.id),
            moved=not fits or port != server.port,
        )
        plan.add(Place(host, port, websocket=server.scheme in _WEBSOCKET), remote)
    return plan


def _address(host: str) -> str:
    """Return the IP address of a host that is this machine."""
    try:
        ip_address(host)
    except ValueError:  # `localhost`, or a name that ends in it
        return _LOOPBACK
    return host


def _notifications(configuration: Configuration, name: str) -> tuple[str, ...]:
    """Return the methods of which an integration expects notifications, where it names them."""
    found = (one.topic for one in configuration.subscriptions if one.integration == name)
    return tuple(topic for topic in found if topic is not None and topic != "*")


def _behaviours(options: Options, known: Sequence[str]) -> dict[str, Behaviour]:
    found: dict[str, Behaviour] = {}
    for name, text in _pairs("--fail", options.fail, known).items():
        if text and not (text.isascii() and text.isdigit() and len(text) < 10):
            raise InvalidError(f"--fail {name}={text}: write how many calls fail, as in {name}=3, or {name} for all")
        found.setdefault(name, Behaviour()).fails = int(text) if text else None
    for name, text in _pairs("--delay", options.delay, known).items():
        found.setdefault(name, Behaviour()).delay = seconds(f"--delay {name}", text)
    for name, text in _pairs("--answer", options.answer, known).items():
        try:
            found.setdefault(name, Behaviour()).answer = msgspec.json.decode(text.encode())
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise InvalidError(f"--answer {name}: this is not JSON: {error}") from None
    return found


def _port(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) < 65536):
        raise InvalidError(f"--port {name}={text}: write a port from 1 to 65535, or 0 for any that is free")
    return int(text)


def _pairs(option: str, given: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Return the values of an option by integration; empty where there is none behind the name.

    Raises:
        InvalidError: A name is none of a JSON-RPC or HTTP integration.
    """
    found: dict[str, str] = {}
    for pair in given:
        name, _, value = pair.partition("=")
        if name not in known:
            there_are = f"there are {one_of(known)}" if known else "there is none"
            hint = near(name, known)
            raise InvalidError(f"{option} {pair}: no JSON-RPC or HTTP integration has this name{hint}; {there_are}")
        found[name] = value
    return found
