"""What a command imports, which is most of the time that it takes to start. Modules are counted, not milliseconds."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
FILE = """\
integration "shop" {
  type = "json-rpc"

  endpoint {
    url = "http://127.0.0.1:9/rpc"
  }
}
"""
BUS = """
bus {{
  publish   = "ipc://{folder}/p.sock"
  subscribe = "ipc://{folder}/s.sock"
}}

bridge {{
  data_dir = "{folder}/state"
  status   = null
}}
"""
#: Runs a command as `python -m bridge` does, and prints the names of all modules when it ends.
PROGRAM = """\
import json, os, sys
from bridge.__main__ import main
try:
    main()
except SystemExit as end:
    print(json.dumps([end.code, sorted(name for name, module in sys.modules.items() if module is not None)]))
"""
#: Libraries of protocols that a configuration does not use, and what nobody uses while all goes well.
UNUSED = frozenset(
    {
        *("aiomqtt", "paho", "nats", "nkeys", "redis", "hiredis", "cronsim"),
        *("ruamel", "hcl2", "lark", "cel", "prometheus_client", "opentelemetry"),
        *("rich", "pygments", "markdown_it", "click"),
    }
)


def test_help_needs_no_event_loop_and_no_models(tmp_path: Path) -> None:
    """`--help` imports what writes on a terminal, and nothing of what a bridge does."""
    found = imported(tmp_path, "--help")
    needless = UNUSED - {"rich"}
    assert not found & (needless | {"asyncio", "ssl", "pydantic", "zmq", "msgpack", "httpx", "structlog", "websockets"})
    assert {name for name in found if name.startswith("bridge.")} <= {
        *("bridge.__main__", "bridge.cli", "bridge.cli.main", "bridge.cli.completion", "bridge.cli.exit_codes"),
        *(
            "bridge.cli.options",
            "bridge.cli.terminal",
            "bridge.cli.dead_letters",
            "bridge.cli.fleet",
            "bridge.cli.keys",
        ),
        *("bridge.core", "bridge.core.bytes_object", "bridge.core.diagnostic", "bridge.core.errors"),
        *("bridge.core.lean", "bridge.core.printable"),
    }


def test_check_needs_no_bus(tmp_path: Path) -> None:
    """`check` of a file without faults imports configuration and adapter, and neither the bus nor the gateway."""
    found = imported(tmp_path, "check", str(written(tmp_path, FILE)))
    assert not found & (UNUSED | {"zmq", "msgpack", "websockets", "uvloop", "sqlite3"})
    assert not {name for name in found if name.startswith(("bridge.bus", "bridge.connection", "bridge.gateway"))}
    assert adapters(found) == {"_common", "jsonrpc"}


def test_run_imports_the_adapters_that_are_used(tmp_path: Path) -> None:
    """`run` with one integration of JSON-RPC over HTTP imports no library of another protocol and none of terminals."""
    file = written(tmp_path, FILE + BUS.format(folder=tmp_path))
    found = imported(tmp_path, "run", str(file))
    assert not found & (UNUSED | {"websockets"})
    assert not {name for name in found if name.startswith(("bridge.client", "bridge.contract", "bridge.simulation"))}
    assert "bridge.config.recovery" not in found, "nothing of the file is at fault"
    assert adapters(found) == {"_common", "jsonrpc"}


def written(folder: Path, text: str) -> Path:
    """Write a configuration."""
    file = folder / "bridge.hcl"
    file.write_text(text)
    return file


def adapters(names: frozenset[str]) -> set[str]:
    """Return the packages of adapters that are among the modules."""
    return {name.split(".")[2] for name in names if name.startswith("bridge.adapters.")}


def imported(folder: Path, *arguments: str) -> frozenset[str]:
    """Run a command in a process of its own, `run` until it is ready; return the names of the modules it has then."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "notify.sock"))
        manager.settimeout(30)
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": str(folder / "notify.sock")}
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            cwd=folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            if arguments[0] == "run":
                while b"READY=1" not in manager.recv(4096):
                    pass
                process.send_signal(signal.SIGTERM)
            said, complaints = process.communicate(timeout=30)
    code, names = json.loads(said.splitlines()[-1])
    assert not code, complaints
    return frozenset(names)
