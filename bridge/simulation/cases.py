"""Run the tests of a configuration: each `test` block on a gateway, a bus and stand-ins of its own."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from bridge.config import Configuration, Expression
from bridge.config.case_models import Case, EmitStep, MessageStep, RemoteStep, Step
from bridge.config.diagnostics import did_you_mean
from bridge.core.errors import InvalidError
from bridge.core.filters import Trigger
from bridge.core.redaction import Redactor
from bridge.simulation.expectations import Failure, is_pending, judge
from bridge.simulation.loop import START_MS
from bridge.simulation.record import Attempt, Record
from bridge.simulation.remote import Answer
from bridge.simulation.simulation import Simulation

#: Outcomes of an attempt after which the remote may have acted; None: it never answered.
_MAYBE_DONE: Final = (None, "timeout", "connection_lost", "unavailable")
#: Seconds of virtual time after which is looked whether what was still expected has come.
_LOOK: Final = 30.0


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What came of one test.

    Attributes:
        case: The test.
        ended_ms: The virtual time at which it ended.
        failures: The expectations that were not met.
        notes: What is conspicuous, and may be the reason of a failure.
        record: All that happened.
    """

    case: Case
    ended_ms: int
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    record: Record = field(repr=False)

    @property
    def ok(self) -> bool:
        """Return whether the test has passed."""
        return not self.failures


def run_case(configuration: Configuration, case: Case, redactor: Redactor) -> CaseResult:
    """Run one test of a configuration on virtual time, and judge it.

    Args:
        configuration: What is tested. Its adapters are not connected.
        case: The test.
        redactor: Masks secrets in what is shown.

    Raises:
        ConfigError, OutboxError: The gateway cannot be built from the configuration.
    """
    notes: list[str] = []
    with Simulation(configuration, answers=answers_of(case)) as simulation:
        simulation.start()
        schedule(simulation, case.steps, notes)
        for expectation in case.expectations:
            if expectation.by is not None:
                simulation.at(expectation.by, _nothing)
        _run(simulation, configuration, case)
        record, ended_ms = simulation.record, simulation.now_ms
        failures = tuple(
            filter(None, (judge(one, record, configuration.bridge.source, redactor) for one in case.expectations))
        )
    if failures:
        notes += _ignored(configuration, case.steps)
        notes += _not_repeated(configuration, record)
    return CaseResult(case, ended_ms, failures, tuple(notes), record)


def answers_of(case: Case) -> dict[str, list[Answer]]:
    """Return how the stand-ins answer, by integration."""
    return {
        name: [Answer(one.result, one.error, one.after, one.code, one.message, one.data) for one in given]
        for name, given in case.answers.items()
    }


def schedule(simulation: Simulation, steps: Iterable[Step], notes: list[str]) -> None:
    """Plan the steps; a note is added, when its time has come, for each that the bus cannot carry."""
    for step in steps:
        simulation.at(step.at, partial(_do, simulation, step, notes))


def _run(simulation: Simulation, configuration: Configuration, case: Case) -> None:
    """Run until nothing is left to do, and nothing is expected any more that may still come; at most `lasts`."""
    ticks = {name for name, one in configuration.integrations.items() if one.type == "timer"}
    if any(one.integration in ticks for one in configuration.subscriptions):
        simulation.run(_last_that_counts(case), settle=False)  # there is always a next tick
        return
    simulation.run(case.lasts)
    while any(is_pending(one, simulation.record) for one in case.expectations):
        now = simulation.now_ms / 1000
        if now >= case.lasts:
            return
        simulation.run(min(now + _LOOK, case.lasts), settle=False)
    simulation.run(case.lasts)


def _last_that_counts(case: Case) -> float:
    """Return the time after which nothing can change the result of a test."""
    limits = [case.lasts if one.by is None else one.by for one in case.expectations]
    return max([*limits, *(step.at for step in case.steps)], default=case.lasts)


def _do(simulation: Simulation, step: Step, notes: list[str]) -> None:
    match step:
        case EmitStep():
            try:
                simulation.emit(
                    step.event_type,
                    step.payload,
                    source=step.source,
                    correlation_id=step.correlation_id,
                    headers=step.headers or None,
                )
            except InvalidError as error:
                notes.append(f"`{step.event_type}` was not emitted: {error.message}")
        case MessageStep():
            simulation.deliver(step.subscription, step.topic, step.payload, step.headers)
        case RemoteStep():
            simulation.note(f"{step.integration} is {'down' if step.down else 'up again'}")
            simulation.remotes[step.integration].down(step.down)


def _nothing() -> None:
    """Do nothing: the test only waits until then."""


def _ignored(configuration: Configuration, steps: Iterable[Step]) -> list[str]:
    """Return a line for each event of the steps that no route takes, and why."""
    patterns = [pattern for route in configuration.routes for pattern in route.on]
    found: dict[str, None] = {}
    for step in steps:
        if not isinstance(step, EmitStep):
            continue
        name = step.event_type
        if name.startswith(("integration.", "bridge.")) or name == configuration.bridge.stop_with:
            continue
        routes = [one for one in configuration.routes if any(Trigger(pattern).matches(name) for pattern in one.on)]
        if not routes:
            near = did_you_mean(name, patterns)
            found[f"no route takes `{name}`{f'; {near}' if near else ''}"] = None
        for route in routes:
            if route.where is not None and _is_false(route.where, step):
                found[f"`where` of route `{route.name}` is not true for this `{name}`: {route.where.text}"] = None
    return list(found)


def _not_repeated(configuration: Configuration, record: Record) -> list[str]:
    """Return a line for each method that was not tried again because the remote may have acted already."""
    found: dict[str, None] = {}
    tries: dict[tuple[str, str | None, str, str], list[Attempt]] = {}
    for one in record.attempts():
        if one.operation == "request":
            tries.setdefault((one.remote, one.idempotency_key, one.name, repr(one.content)), []).append(one)
    for (remote, key, name, _), made in tries.items():
        integration = configuration.integrations[remote]
        listed = getattr(integration.config, "idempotent", None)
        if key is not None or listed is None or name in listed or made[-1].outcome not in _MAYBE_DONE:
            continue
        if len(made) < integration.resilience.retry.max_attempts:
            ways = f'list it under `idempotent` in `config` of "{remote}", or give the event an `idempotency_key`'
            found[f"`{name}` was not tried again, because the remote may have done it; to allow that, {ways}"] = None
    return list(found)


def _is_false(where: Expression, step: EmitStep) -> bool:
    """Return whether a condition is not true for the event of a step; False where that cannot be computed."""
    event = {
        "id": 1,
        "type": step.event_type,
        "payload": step.payload,
        "timestamp": START_MS,
        "source": step.source,
        "correlation_id": step.correlation_id,
        "headers": step.headers,
    }
    try:
        return where.evaluate({"event": event}) is False
    except InvalidError:
        return False
