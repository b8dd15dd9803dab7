"""fabric.yaml, its configurations and `scripts/stack fabric` say the same, and the containers are held tight."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bridge.config import load
from bridge.registry import AdapterRegistry

ROOT = Path(__file__).parents[3]
COMPOSE = ROOT / "compose"
SERVERS = ("nats-1", "nats-2", "nats-3")
BRIDGES = ("office", "desk-1", "desk-2")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `scripts/stack fabric --plan` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "stack_lib", "fabric", "--plan", str(tmp_path_factory.mktemp("stack"))],
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


@pytest.fixture
def file() -> Mapping[str, Any]:
    """All of fabric.yaml."""
    found: Mapping[str, Any] = YAML(typ="safe").load(COMPOSE / "fabric.yaml")
    return found


def test_it_starts_all_that_the_file_starts(plan, file):
    """The same services in an order in which they can start, with the same command before the stack's own options."""
    assert set(file["services"]) == set(plan["services"]) == {*SERVERS, *BRIDGES}
    assert tuple(plan["services"])[:3] == SERVERS
    for name, service in file["services"].items():
        _, *arguments = service["command"]
        local = [str(COMPOSE / one.removeprefix("/etc/nemo/")) if "/etc/" in one else one for one in arguments]
        command = plan["services"][name]["command"]
        start = 1 if name in SERVERS else 3
        assert command[start : start + len(local)] == local
        assert Path(command[start + local.index(next(one for one in local if str(COMPOSE) in one))]).is_file()


def test_the_servers_know_each_other_and_keep_to_loopback(plan, file):
    """Each has a name of its own and the routes to all, in the containers and without; no port is another's."""
    ports = [port for name in SERVERS for port in plan["services"][name]["ports"]]
    assert len(set(ports)) == len(ports) == 6
    routes = set()
    for name in SERVERS:
        inside, local = file["services"][name]["command"], plan["services"][name]["command"]
        assert inside[inside.index("--name") + 1] == name
        assert inside[inside.index("--routes") + 1] == ",".join(f"nats://{one}:6222" for one in SERVERS)
        last = len(local) - 1 - local[::-1].index("--cluster")
        routes.add(local[last + 1])
        assert "0.0.0.0" not in " ".join(local[len(inside) :])
    assert len(routes) == 3
    assert set(local[len(local) - 1 - local[::-1].index("--routes") + 1].split(",")) == routes


def test_the_configurations_are_good_in_both(plan, file):
    """No complaint or warning with the containers' environment, the stack's, and none; each has a name of its own."""
    nodes = []
    for name in BRIDGES:
        service = file["services"][name]
        path = COMPOSE / service["command"][-1].removeprefix("/etc/nemo/")
        asked = set(re.findall(r'^  env +?= "(\w+)"', path.read_text("utf-8"), re.MULTILINE))
        assert set(service["environment"]) == asked - {"STATUS"}
        assert asked <= set(plan["services"][name]["environment"])
        for environ in (service["environment"], plan["services"][name]["environment"], {}):
            loaded = load([path], adapters=AdapterRegistry(), environ=environ)
            assert not loaded.warnings
        inside = load([path], adapters=AdapterRegistry(), environ=service["environment"])
        nodes.append(inside.fabrics["plant"].node)
        addresses = re.findall(r"(nats-\d):4222", " ".join(service["environment"].values()))
        assert set(addresses) == set(SERVERS)
    assert nodes == list(BRIDGES)


def test_the_check_covers_what_the_nodes_share(plan):
    """What is exported and what sets off a route is emitted, and what comes of it is waited for."""
    text = "".join(path.read_text("utf-8") for path in (COMPOSE / "fabric").glob("*.hcl"))
    exported = set(re.findall(r'^  export +?= \["(.+)"\]$', text, re.MULTILINE))
    taken = set(re.findall(r'^  on +?= \["(.+)"\]$', text, re.MULTILINE))
    emitted = set(re.findall(r'^  emit +?= "(.+)"$', text, re.MULTILINE))
    assert {one["emit"] for one in plan["check"]} == exported | taken
    assert {one["back"] for one in plan["check"]} == exported | emitted - {"clock.struck"}


def test_every_volume_exists(file):
    """A mounted file is there and read only, and a named volume is declared and one bridge's alone."""
    used = []
    for service in file["services"].values():
        for volume in service["volumes"]:
            source, _, *mode = volume.split(":")
            if source.startswith("."):
                assert (COMPOSE / source).is_file()
                assert mode == ["ro"]
            else:
                used.append(source)
    assert sorted(used) == sorted(file["volumes"])


def test_nobody_is_root(file):
    """Every container runs as nobody, on a file system that it cannot write; no port is published."""
    for service in file["services"].values():
        assert service["user"] == "65534:65534"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "ports" not in service
