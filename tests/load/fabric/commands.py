"""Commands to an integration of other nodes, which are killed in turn: each is answered once, and never done twice."""

import asyncio
import random
import time
from collections import Counter
from typing import Any, Final

from tests.load.fabric.report import Report
from tests.load.fabric.stand import CARRIER, FABRIC, Node, Stand, stand
from tests.support.servers.ledger_service import LedgerService, ledger_service
from tests.support.wait import until

USED: Final = "erp"
NAMES: Final = ("n1", "n2", "n3")
_COMMAND: Final = f"integration.{USED}.request"
#: What an error may say, and whether the command may have been executed then.
_ERRORS: Final = {
    "not_connected": False,
    "unavailable": True,
    "connection_lost": True,
    "timeout": True,
    "deadline": True,
}
#: Time limit of a command, in milliseconds.
_LIMIT: Final = 4000
#: Seconds that a second answer is waited for.
_SECOND: Final = 2.0
#: Commands without an answer, at most, before the next one is sent.
_WINDOW: Final = 50


def _text(name: str, index: int, port: int) -> str:
    if index == 0:
        return f"""
fabric "{FABRIC}" {{
  integration = "{CARRIER}"
  node        = "{name}"
  replicas    = 3
  use         = ["{USED}"]
}}
"""
    return f"""
integration "{USED}" {{
  type = "json-rpc"
  endpoint {{
    url = "http://127.0.0.1:{port}/"
  }}
  resilience {{
    timeout = "2s"
  }}
}}

fabric "{FABRIC}" {{
  integration = "{CARRIER}"
  node        = "{name}"
  replicas    = 3
  offer       = ["{USED}"]
}}
"""


class Caller:
    """Sends numbered commands, and takes the answers.

    Attributes:
        answers: Number → what came, in order.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.answers: dict[int, list[dict[str, Any]]] = {}

    def send(self, number: int) -> None:
        """Send one, once."""
        self.answers[number] = []
        payload = {"method": "note", "params": {"number": number}, "timeout_ms": _LIMIT}
        self._node.ear.emit(_COMMAND, payload, f"command/{number}")

    def take(self) -> None:
        """Read the answers that have come."""
        for event in self._node.take():
            name, _, number = (event["correlation_id"] or "").partition("/")
            if event["event_type"] == f"response.{_COMMAND}" and name == "command":
                self.answers[int(number)].append(event["payload"])

    @property
    def waiting(self) -> int:
        """Return how many have no answer."""
        return sum(not answers for answers in self.answers.values())


async def run(seed: int, *, commands: int, rate: float, every: float) -> Report:
    """Send so many commands from one node, while the two that offer the integration are killed in turn.

    Args:
        seed: Decides when they are killed.
        commands: How many.
        rate: New commands a second.
        every: Mean seconds from the return of one node to the death of the other.
    """
    report = Report(f"commands, seed {seed}")
    with ledger_service() as service, stand(lambda *node: _text(*node, service.port), (), names=NAMES) as running:
        await running.joined()
        await _offered(running, len(NAMES) - 1)
        caller = Caller(running.nodes[0])
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(_kill(running, caller, random.Random(seed), every))
            await _send_all(caller, commands, rate)
            killing.cancel()
        seconds = time.monotonic() - began
        await asyncio.sleep(_SECOND)
        caller.take()
        _judge(report, caller, service)
        executed = len(service.entries())
        for node in running.nodes[:1]:
            node.check()
    kinds = Counter(answer["error"]["kind"] if not answer["ok"] else "ok" for (answer, *_) in caller.answers.values())
    report.figures |= {
        "sent": str(commands),
        "answered": ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()),
        "executed": str(executed),
        "kills": str(sum(node.kills for node in running.nodes)),
        "time": f"{seconds:.0f} s",
    }
    return report


async def _offered(running: Stand, count: int) -> None:
    """Wait until so many nodes offer the integration, as the using node sees it."""
    user = running.nodes[0]

    def seen() -> bool:
        user.take()
        nodes = [user.health.get(f"health.node.{node.name}") or {} for node in running.nodes[1:]]
        offering = sum(one.get("status") == "connected" and USED in one["offers"] for one in nodes)
        used = user.health.get(f"health.{USED}") or {}
        return offering == count and used.get("status") == "connected"

    await until(seen, f"{count} nodes that offer {USED}")


async def _send_all(caller: Caller, commands: int, rate: float) -> None:
    began, sent = time.monotonic(), 0
    end = began + commands / rate + 120
    while sent < commands or caller.waiting:
        assert time.monotonic() < end, f"{caller.waiting} commands without an answer"
        while sent < min(commands, (time.monotonic() - began) * rate) and caller.waiting < _WINDOW:
            caller.send(sent)
            sent += 1
        caller.take()
        await asyncio.sleep(0.005)


async def _kill(running: Stand, caller: Caller, dice: random.Random, every: float) -> None:
    """Kill the offering nodes, one after the other, as long as the other one is there."""
    turn = 0
    while True:
        await asyncio.sleep(dice.uniform(0.3, 1.7) * every)
        node = running.nodes[1 + turn % 2]
        await node.kill(node.take)
        node.start()
        turn += 1
        while not _connected(node):
            node.take()
            await asyncio.sleep(0.02)


def _connected(node: Node) -> bool:
    names = (f"health.{USED}", f"health.fabric.{FABRIC}")
    return all((node.health.get(name) or {}).get("status") == "connected" for name in names)


def _judge(report: Report, caller: Caller, service: LedgerService) -> None:
    done = Counter(number for _, number in service.entries())
    answers = caller.answers
    report.note("commands were answered more than once", [n for n, given in answers.items() if len(given) > 1])
    report.note("commands were executed more than once", [n for n, count in done.items() if count > 1])
    good = [number for number, (answer, *_) in answers.items() if answer["ok"]]
    report.note("commands have a result and were not executed", [n for n in good if done[n] == 0])
    wrong = [n for n in good if answers[n][0]["result"] != {"number": n}]
    report.note("commands have the result of another", wrong)
    errors = {number: answer["error"] for number, (answer, *_) in answers.items() if not answer["ok"]}
    report.note(
        "commands failed with an error that says nothing of what is known",
        [(number, error) for number, error in errors.items() if error["kind"] not in _ERRORS],
    )
    report.note(
        "commands were executed although their error says that nothing was sent",
        [number for number, error in errors.items() if _ERRORS.get(error["kind"]) is False and done[number]],
    )
    if len(good) < len(answers) / 2:
        report.violations.append(f"only {len(good)} of {len(answers)} commands had a result")
