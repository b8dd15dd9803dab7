"""compose.yaml, its configuration and scripts/stack say the same, and the containers are held tight."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bridge.config import BridgeSettings, Configuration, load
from bridge.core.units import parse_duration
from bridge.registry import AdapterRegistry

ROOT = Path(__file__).parents[3]
COMPOSE = ROOT / "compose"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the plan's files are."""
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="module")
def plan(folder: Path) -> dict[str, Any]:
    """What `scripts/stack --plan` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "stack_lib", "--plan", str(folder)],
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


@pytest.fixture
def every_service() -> Mapping[str, dict[str, Any]]:
    """The services of compose.yaml."""
    found: Mapping[str, dict[str, Any]] = YAML(typ="safe").load(COMPOSE / "compose.yaml")["services"]
    return found


@pytest.fixture
def services(every_service: Mapping[str, dict[str, Any]]) -> Mapping[str, dict[str, Any]]:
    """Those that start without a profile."""
    return {name: service for name, service in every_service.items() if "profiles" not in service}


def container_ports(plan: dict[str, Any]) -> set[tuple[str, int]]:
    """Each service's ports in compose.yaml, as the stack knows them."""
    return {(one["service"], one["port"]) for one in plan["container_ports"].values()}


def configuration(environ: Mapping[str, str]) -> Configuration:
    """compose/bridge.hcl in this environment."""
    return load([COMPOSE / "bridge.hcl"], adapters=AdapterRegistry(), environ=environ)


def test_it_starts_all_that_the_stack_starts(plan, services, folder):
    """The same services, with the same command before the stack's own options."""
    everything = {name: service["command"] for name, service in plan["services"].items()}
    assert set(everything) == set(services) == {"sidecar", "rpc", "mosquitto", "redis", "nats"}
    programs = {"python": [sys.executable], "nemo-bridge": [sys.executable, "-m", "bridge"]}
    for name, service in services.items():
        program, *arguments = service["command"]
        start = programs.get(program) or [everything[name][0]]
        assert Path(start[0]).name in {program, Path(sys.executable).name}
        folders = {"mosquitto.conf": folder}
        files = [
            str(folders.get(Path(one).name, COMPOSE) / Path(one).name) if one.startswith("/etc/nemo/") else one
            for one in arguments
        ]
        assert everything[name][: len(start) + len(files)] == [*start, *files]


def test_mosquitto_keeps_to_loopback(plan, folder):
    """The stack's copy of its configuration differs in the listener and the user only."""
    (port,) = plan["services"]["mosquitto"]["ports"]
    ours = (COMPOSE / "mosquitto.conf").read_text("utf-8").splitlines()
    theirs = (folder / "mosquitto.conf").read_text("utf-8").splitlines()
    assert next(line for line in theirs if line not in ours) == f"listener {port} 127.0.0.1"
    assert [line for line in ours if line not in theirs] == ["listener 1883"]
    assert theirs[-1].startswith("user ")


def test_every_port_is_published_on_loopback_and_known_to_the_stack(plan, services):
    """compose.yaml publishes exactly the ports that the stack opens, and none beyond this machine."""
    published = {(name, port) for name, service in services.items() for port in service.get("ports", ())}
    assert published == {(name, f"127.0.0.1:{port}:{port}") for name, port in container_ports(plan)}


def test_the_environment_is_what_the_configuration_asks_for(plan, services):
    """Containers and stack set each variable of bridge.hcl, and each address names a service and its port."""
    asked = set(re.findall(r'^  env +?= "(\w+)"', (COMPOSE / "bridge.hcl").read_text("utf-8"), re.MULTILINE))
    inside = services["sidecar"]["environment"]
    assert asked
    assert set(inside) == asked == set(plan["environment"])
    addresses = {
        (found[1], int(found[2])) for text in inside.values() if (found := re.match(r"\w+://(\w+):(\d+)", text))
    }
    assert addresses == container_ports(plan)


def test_the_configuration_is_good_in_both(plan, services):
    """No complaint and no warning with the containers' environment, the stack's, and none."""
    for environ in (services["sidecar"]["environment"], plan["environment"], {}):
        loaded = configuration(environ)
        assert not loaded.warnings
        assert {one.type for one in loaded.integrations.values()} == {
            "json-rpc", "mqtt", "redis", "nats", "http", "file", "static", "timer"
        }  # fmt: skip


def test_the_check_covers_every_route_and_subscription(plan):
    """Each route is set off, and each type that a route or subscription emits is waited for."""
    text = (COMPOSE / "bridge.hcl").read_text("utf-8")
    assert {one["emit"] for one in plan["check"]} - {None} == set(
        re.findall(r'^  on +?= \["(.+)"\]$', text, re.MULTILINE)
    )
    assert {one["back"] for one in plan["check"]} == set(re.findall(r'^  emit +?= "(.+)"$', text, re.MULTILINE))


def test_monitoring_is_asked_for_and_stays_on_this_machine(every_service):
    """Prometheus reads the metrics on the sidecar's loopback; of both only Grafana has a port, on this machine only."""
    monitoring = {name: one for name, one in every_service.items() if one.get("profiles") == ["monitoring"]}
    assert {name: one.get("ports") for name, one in monitoring.items()} == {
        "prometheus": None,
        "grafana": ["127.0.0.1:3000:3000"],
    }
    assert monitoring["prometheus"]["network_mode"] == "service:sidecar"


def test_every_volume_exists(every_service):
    """A mounted file is there and read only, a named volume is declared, and the command's file is mounted."""
    declared = re.findall(r"^volumes:\n((?:  \w+:\n)+)", (COMPOSE / "compose.yaml").read_text("utf-8"), re.MULTILINE)
    named = set(re.findall(r"\w+", declared[0]))
    used = set()
    for service in every_service.values():
        mounted = set()
        for volume in service.get("volumes", ()):
            source, target, *mode = volume.split(":")
            if source.startswith("."):
                assert (COMPOSE / source).is_file()
                assert mode == ["ro"]
            else:
                used.add(source)
            mounted.add(target)
        assert {argument for argument in service.get("command", ()) if argument.startswith("/etc/")} <= mounted
    assert used == named


def test_nobody_is_root(every_service):
    """Every container runs as nobody, on a file system that it cannot write, without capabilities; each is watched."""
    dockerfile = (COMPOSE / "Dockerfile").read_text("utf-8")
    assert re.search(r"^USER 65534:65534$", dockerfile, re.MULTILINE)
    for name, service in every_service.items():
        assert service["user"] == "65534:65534"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service.get("privileged")
        assert "healthcheck" in service or (name == "sidecar" and "HEALTHCHECK" in dockerfile)


def test_the_image_is_built_from_what_there_is(services):
    """Our two services share one image; it installs by hash, and copies files that exist and are enough to build."""
    ours = [services[name] for name in ("sidecar", "rpc")]
    assert ours[0]["build"] == ours[1]["build"] == {"context": "..", "dockerfile": "compose/Dockerfile"}
    dockerfile = (COMPOSE / "Dockerfile").read_text("utf-8")
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"python:3.12-slim"}
    installs = [line for line in dockerfile.splitlines() if "pip install" in line]
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)
    copied = {name for line in re.findall(r"^COPY (?!--)(.+)", dockerfile, re.MULTILINE) for name in line.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    needed = {"pyproject.toml", "requirements.lock", project["project"]["readme"], *project["project"]["license-files"]}
    assert needed | set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]) <= copied


def test_the_container_is_asked_whether_it_is_ready():
    """The image's health check is a program of one line that asks the status page where it is by default."""
    dockerfile = (COMPOSE / "Dockerfile").read_text("utf-8")
    found = re.search(r"^HEALTHCHECK .*\\\n +CMD (\[.+\])$", dockerfile, re.MULTILINE)
    assert found is not None
    program, option, code = json.loads(found[1])
    assert (program, option) == ("python", "-c")
    compile(code, "health check", "exec")
    assert f"http://{BridgeSettings().status}/readyz" in code


def unit() -> dict[str, dict[str, list[str]]]:
    """compose/nemo-bridge.service: section → key → values in their order."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in (COMPOSE / "nemo-bridge.service").read_text("utf-8").splitlines():
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return found


def test_the_unit_waits_for_what_the_sidecar_says():
    """Systemd is told of ready, reload and hanging, and gives more time than the sidecar takes to drain."""
    service = unit()["Service"]
    assert service["Type"] == ["notify"]
    assert service["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert "WatchdogSec" in service
    assert parse_duration(service["TimeoutStopSec"][0]) > BridgeSettings().drain_timeout
    assert service["RuntimeDirectoryMode"] == service["StateDirectoryMode"] == ["0700"]


def test_the_unit_leaves_zeromq_what_it_aborts_without():
    """Its threads set the scheduling policy that they have, and before it binds to TCP it lists the interfaces."""
    service = unit()["Service"]
    assert service["SystemCallFilter"][-2:] == ["~@privileged @resources", "sched_setscheduler"]
    assert "AF_NETLINK" in service["RestrictAddressFamilies"][0]


def test_the_unit_is_held_tight(tmp_path):
    """No rights beyond those of a program that talks over sockets; systemd itself finds nothing wrong with it."""
    service = unit()["Service"]
    assert service["DynamicUser"] == service["NoNewPrivileges"] == service["ProtectHome"] == ["yes"]
    assert service["CapabilityBoundingSet"] == [""]
    assert service["ProtectSystem"] == ["strict"]
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / "nemo-bridge.service"
    text = (COMPOSE / "nemo-bridge.service").read_text("utf-8")
    copy.write_text(text.replace("/opt/nemo/bin/nemo-bridge", sys.executable), "utf-8")
    done = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
