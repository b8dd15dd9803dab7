"""Random scenarios on virtual time: no seed breaks an invariant; `scripts/simulate` runs more of them."""

from pathlib import Path

import pytest

from tests.support.simulation.scenario import Scenario, faults_of, scenario, shrink

#: Seeds of one test; there are twenty tests.
_EACH = 15


@pytest.mark.parametrize("first", range(0, 20 * _EACH, _EACH))
def test_seeds(first: int, tmp_path: Path) -> None:
    """Whatever fails, sums balance, each event has one outcome, order holds, nothing is lost, and all ends well."""
    for seed in range(first, first + _EACH):
        found = faults_of(scenario(seed), tmp_path)
        assert not found, f"scripts/simulate --from {seed} --seeds 1 shows the smallest scenario that fails: {found[0]}"


def test_a_seed_always_gives_the_same_scenario() -> None:
    """A scenario can be made again from its seed, in any process."""
    assert str(scenario(7)) == str(scenario(7))
    assert str(scenario(7)) != str(scenario(8))


def test_shrinking_leaves_what_is_needed() -> None:
    """Of a scenario that fails there is left what it needs to fail, and nothing else."""
    whole = next(one for one in map(scenario, range(100)) if len(one.faults) > 3 and len(one.acts) > 10)
    fault, act = whole.faults[2], whole.acts[5]

    def fails(one: Scenario) -> bool:
        return fault in one.faults and act in one.acts

    smallest = shrink(whole, fails)
    assert (smallest.faults, smallest.acts) == ((fault,), (act,))
