"""A run with failures, a lost connection and a killed process, printed entry by entry: `python -m …story FOLDER`."""

import sys
from pathlib import Path

from bridge.simulation import Answer, Simulation
from tests.support.simulation.configured import BROKER, SHOP, configured


def story(folder: Path) -> str:
    """Return all that happens in it."""
    answers = [Answer(error="timeout"), Answer(error="not_connected"), Answer(result=1, after=0.2)]
    with Simulation(configured(folder, SHOP + BROKER), answers={"shop": answers}, seed=3) as world:
        for number in range(20):
            correlation_id = str(number)
            world.at(
                number,
                lambda number=number, correlation_id=correlation_id: world.emit(  # type: ignore[misc]
                    "order.created", {"id": number}, correlation_id=correlation_id
                ),
            )
            world.at(number, lambda number=number: world.deliver("metrics", "metrics/cpu", number))  # type: ignore[misc]
        world.at(7, lambda: world.remotes["events"].down(True))
        world.at(9, world.kill)
        world.at(12, world.start_soon)
        world.at(15, lambda: world.remotes["events"].down(False))
        world.start()
        world.run(600)
        left = world.finish()
        return "\n".join([*map(str, world.record), str(left)])


if __name__ == "__main__":
    sys.stdout.write(story(Path(sys.argv[1])))
