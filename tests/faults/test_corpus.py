"""What was ever sent to break the readers, held against them without a fuzzer; `scripts/fuzz` begins from it."""

from collections import Counter

import pytest

from bridge.bus.codec import Codec
from tests.fuzz.oracles import CORPUS, TARGETS, BrokenError, corpus
from tests.support.sidecar.sidecar import sidecar
from tests.support.wait import until

_NAME = b"order.paid"
_CASES = [(target, name, data) for target in TARGETS for name, data in corpus(target)]


@pytest.mark.parametrize(
    ("target", "data"), [(one[0], one[2]) for one in _CASES], ids=[f"{one[0]}-{one[1]}" for one in _CASES]
)
def test_the_oracles_hold(target: str, data: bytes) -> None:
    """Both decoders agree, only declared errors come out, diagnostics have their form, and no secret is shown."""
    TARGETS[target](data)


def test_an_oracle_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that reads something else than the other is found."""
    other = Codec().decode(_NAME, bytes.fromhex("9601aa6f726465722e70616964c002c0c0"))
    monkeypatch.setattr(Codec, "_fast", lambda *_: other)
    with pytest.raises(BrokenError, match="lane"):
        TARGETS["codec"](b"\x80")


async def test_the_bad_messages_on_a_live_bus() -> None:
    """Each is counted once under its reason, each good one is read, and the next command is answered."""
    lines = [line.split(maxsplit=2) for line in (CORPUS / "codec.txt").read_text().splitlines() if line[0] != "#"]
    expected = Counter(reason for reason, _, _ in lines)
    good = expected.pop("good")
    with sidecar("") as running, running.program("resilience.bus", "response.", "health.bridge") as bus:
        before = (await bus.ask("bridge.status", {}))["result"]["bridge"]["bus"]
        for _, text, _ in lines:
            bus.raw(_NAME, bytes.fromhex(text.strip("-")))
        after = (await bus.ask("bridge.status", {}))["result"]["bridge"]["bus"]
        assert after["rejected"] - before["rejected"] == expected.total()
        assert after["received"] - before["received"] == good + 1  # and the question itself

        def told() -> Counter[str]:
            found = Counter[str]()
            for event in bus.seen("resilience.bus.rejected"):
                found[event["payload"]["reason"]] += event["payload"]["count"]
            return found

        await until(lambda: told() == expected, "the report of each", seconds=15)
