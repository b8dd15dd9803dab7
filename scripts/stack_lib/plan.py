"""From a file of compose/ to processes: the same commands, with this machine's programs, files, ports and folders."""

import getpass
import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from ruamel.yaml import YAML

from stack_lib.programs import find

COMPOSE: Final = Path(__file__).parents[2] / "compose"
#: Where the containers find the files of compose/.
MOUNTED: Final = "/etc/nemo/"
#: Program of a server → its Debian package.
PACKAGES: Final[Mapping[str, str]] = {
    "mosquitto": "mosquitto",
    "redis-server": "redis-server",
    "nats-server": "nats-server",
}
#: Debian package → Homebrew's formula, where it has another name.
FORMULAS: Final[Mapping[str, str]] = {"redis-server": "redis"}
#: Each port by a name of its own → (the service, its port in compose.yaml).
PORTS: Final[Mapping[str, tuple[str, int]]] = {
    "rpc": ("rpc", 8080),
    "mqtt": ("mosquitto", 1883),
    "redis": ("redis", 6379),
    "nats": ("nats", 4222),
    "nats_status": ("nats", 8222),
}
_LOOPBACK: Final = "127.0.0.1"
_Name = TypeVar("_Name", str, tuple[str, str])


class StackError(Exception):
    """The stack cannot run; one line for a person."""


@dataclass(frozen=True, slots=True)
class Service:
    """One process: its command line, the ports that are open once it is ready, and what it has in its environment."""

    name: str
    command: tuple[str, ...]
    ports: tuple[int, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """All processes, in the order in which they start. A sidecar's environment makes its configuration fit."""

    servers: tuple[Service, ...]
    sidecars: tuple[Service, ...]

    @property
    def services(self) -> tuple[Service, ...]:
        """All of them."""
        return (*self.servers, *self.sidecars)


def services(file: str = "compose.yaml") -> dict[str, dict[str, Any]]:
    """The services of a file in compose/, without those of a profile, which start only when they are asked for."""
    found: dict[str, dict[str, Any]] = YAML(typ="safe").load(COMPOSE / file)["services"]
    return {name: service for name, service in found.items() if "profiles" not in service}


def check_installed(file: str = "compose.yaml") -> None:
    """See that each server of a file in compose/ is there.

    Raises:
        StackError: A server is not installed; the message says how to install it.
    """
    programs = [service["command"][0] for service in services(file).values()]
    wanted = dict.fromkeys(PACKAGES[program] for program in programs if program in PACKAGES and not find(program))
    missing = list(wanted)
    if missing:
        names = " ".join(missing)
        raise StackError(
            f"not installed: {names}. Debian, Ubuntu: sudo apt-get install --no-install-recommends {names}; "
            f"macOS: brew install {' '.join(FORMULAS.get(name, name) for name in missing)}"
        )


def make_plan(folder: Path, *, own_ports: bool) -> Plan:
    """Decide what to start, and write the files that it needs; nothing is started.

    Args:
        folder: A directory that only the user can enter, for files that live as long as the stack.
        own_ports: Take free ports always, not only where the usual one is taken.
    """
    commands = {name: service["command"] for name, service in services().items()}
    ports = free_ports({name: usual for name, (_, usual) in PORTS.items()}, own=own_ports)
    exchange = folder / "exchange"
    exchange.mkdir()
    # Each server takes the last of two options, and options before its file; Mosquitto has only the file.
    more: dict[str, list[str]] = {
        "rpc": ["--host", _LOOPBACK, "--port", str(ports["rpc"])],
        "mosquitto": [],
        "redis": ["--bind", _LOOPBACK, "--port", str(ports["redis"])],
        "nats": ["--addr", _LOOPBACK, "--port", str(ports["nats"]), "--http_port", str(ports["nats_status"])],
    }
    more["nats"] += ["--store_dir", str(folder)]
    files = {"mosquitto.conf": _mosquitto_file(folder, ports["mqtt"])}
    return Plan(
        servers=tuple(
            Service(
                name,
                (*_local(commands[name], files), *options),
                tuple(ports[port] for port, (service, _) in PORTS.items() if service == name),
            )
            for name, options in more.items()
        ),
        sidecars=(
            Service(
                "sidecar",
                _local(commands["sidecar"], files),
                environment={
                    "RPC_URL": f"http://{_LOOPBACK}:{ports['rpc']}/rpc",
                    "MQTT_URL": f"mqtt://{_LOOPBACK}:{ports['mqtt']}",
                    "REDIS_URL": f"redis://{_LOOPBACK}:{ports['redis']}/0",
                    "NATS_URL": f"nats://{_LOOPBACK}:{ports['nats']}",
                    "NATS_STATUS_URL": f"http://{_LOOPBACK}:{ports['nats_status']}",
                    "EXCHANGE": str(exchange),
                },
            ),
        ),
    )


def make_fabric_plan(folder: Path, *, own_ports: bool) -> Plan:
    """Decide what to start of fabric.yaml, and make the folders that it needs; nothing is started.

    Args:
        folder: A directory that only the user can enter. Each sidecar's bus and data are in a folder of its own in it.
        own_ports: Take free ports always, not only where the usual one is taken.
    """
    file = services("fabric.yaml")
    servers = [name for name, service in file.items() if service["command"][0] == "nats-server"]
    # Each server's ports: for clients, its pages, and the others. In a container all servers have the same ones.
    wanted = {
        (name, what): usual + index
        for index, name in enumerate(servers)
        for what, usual in (("client", 4222), ("pages", 8222), ("routes", 6222))
    }
    ports = free_ports(wanted, own=own_ports)
    routes = ",".join(f"nats://{_LOOPBACK}:{ports[name, 'routes']}" for name in servers)
    started = []
    for name in servers:
        options = ["--addr", _LOOPBACK, "--port", str(ports[name, "client"])]
        options += ["--http_port", str(ports[name, "pages"]), "--store_dir", str(folder / name), "--routes", routes]
        options += ["--cluster", f"nats://{_LOOPBACK}:{ports[name, 'routes']}"]
        command = (*_local(file[name]["command"], {}), *options)
        started.append(Service(name, command, (ports[name, "client"], ports[name, "pages"])))
    bridges = [name for name in file if name not in servers]
    pages = free_ports({name: 9464 + index for index, name in enumerate(bridges)}, own=own_ports)
    sidecars = []
    for name in bridges:
        service, place = file[name], folder / name
        (place / "printed").mkdir(parents=True, mode=0o700)
        environment = {
            key: re.sub(r"(nats-\d):4222", lambda found: f"{_LOOPBACK}:{ports[found[1], 'client']}", value)
            for key, value in service["environment"].items()
        }
        environment |= {"PRINTED": str(place / "printed")} if "PRINTED" in environment else {}
        environment["STATUS"] = f"{_LOOPBACK}:{pages[name]}"
        environment |= {"XDG_RUNTIME_DIR": str(place), "XDG_STATE_HOME": str(place)}
        sidecars.append(Service(name, _local(service["command"], {}), environment=environment))
    return Plan(tuple(started), tuple(sidecars))


def free_ports(usual: Mapping[_Name, int], *, own: bool) -> dict[_Name, int]:
    """Return a port of loopback for each name: the usual one if it is free and `own` is false, else any free one."""
    found: dict[_Name, int] = {}
    sockets: list[socket.socket] = []
    try:
        for name, number in usual.items():
            # All stay bound until the last is found, so that none is given twice.
            taken = socket.socket()
            sockets.append(taken)
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                taken.bind((_LOOPBACK, 0 if own else number))
            except OSError:
                taken.bind((_LOOPBACK, 0))
            found[name] = taken.getsockname()[1]
    finally:
        for taken in sockets:
            taken.close()
    return found


def _mosquitto_file(folder: Path, port: int) -> Path:
    """Its configuration on this port of loopback, which its command line cannot say."""
    text, count = re.subn(
        r"^listener 1883$",
        f"listener {port} {_LOOPBACK}",
        (COMPOSE / "mosquitto.conf").read_text("utf-8"),
        flags=re.MULTILINE,
    )
    if count != 1:
        raise StackError("compose/mosquitto.conf: the one line `listener 1883` is missing")
    file = folder / "mosquitto.conf"
    # Started as root it would become another user, who cannot enter the folder.
    file.write_text(f"{text}user {getpass.getuser()}\n", "utf-8")
    return file


def _local(command: list[str], files: Mapping[str, Path]) -> tuple[str, ...]:
    program, *arguments = command
    if program == "python":
        start = [sys.executable]
    elif program == "nemo-bridge":
        start = [sys.executable, "-m", "bridge"]
    else:
        start = [find(program) or program]
    for argument in arguments:
        name = argument.removeprefix(MOUNTED)
        start.append(argument if name == argument else str(files.get(name, COMPOSE / name)))
    return tuple(start)
