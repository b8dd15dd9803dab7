"""Checks what the bridge promises; each broken promise is one line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.load.soak.samples import Sample
from tests.load.storm.account import Account, Accounts
from tests.load.storm.integrations import READ

#: Seconds within which a remote is used again, and the longest that a call to another one may take meanwhile.
BACK: Final = 10.0
SLOWEST: Final = 4.0
#: MiB of memory that may be more at rest than before the first kill, and than in the middle of the run (answers by key
#: and what came in are remembered for minutes); descriptors that may be more than before, since after a burst of calls
#: HTTP connections stay open for a minute. One left over by each kill would be more.
_WARM_UP: Final = 24.0
_RESIDENT: Final = 6.0
_DESCRIPTORS: Final = 24.0
_ENDS: Final = ("succeeded", "failed", "dead_lettered", "expired", "shed", "in_flight", "queued")


@dataclass(frozen=True, slots=True)
class Outage:
    """The time in which a remote was not used because it had been killed.

    Attributes:
        name: Whose remote.
        since: When it died, in monotonic seconds.
        until: When it was used again.
        back: Seconds from its start to its use; None where it did not come back.
    """

    name: str
    since: float
    until: float
    back: float | None


def _slowest(account: Account, outages: Sequence[Outage], name: str) -> float:
    """Return the longest wait for an answer while other remotes were away, and its own was not."""
    own = [one for one in outages if one.name == name]
    waits = [
        wait
        for at, wait in account.waits
        if any(one.since <= at <= one.until for one in outages) and not _touches(at - wait, at, own)
    ]
    return max(waits, default=0.0)


def _touches(since: float, until: float, outages: Sequence[Outage]) -> bool:
    return any(since <= one.until and until >= one.since for one in outages)


def _disturbed(account: Account, outages: Sequence[Outage], name: str) -> int:
    """Return how many failures no outage of its own remote explains."""
    own = [one for one in outages if one.name == name]
    return sum(1 for at in account.failed_at if not _touches(at - SLOWEST, at, own))


def table(accounts: Accounts, outages: Sequence[Outage], ledgers: Mapping[str, set[int]]) -> str:
    """Return a table with one line for each integration."""
    head = (
        f"{'':<10} {'sent':>6} {'good':>6} {'failed':>7} {'stored':>7} {'came in':>8} {'kills':>6} {'back, worst':>12}"
    )
    lines = [f"{head} {'slowest beside':>15}"]
    for name, account in accounts.of.items():
        own = [one for one in outages if one.name == name]
        back = max((one.back if one.back is not None else float("inf") for one in own), default=None)
        lines.append(
            f"{name:<10} {len(account.sent):>6} {len(account.succeeded):>6} {account.errors.total():>7}"
            f" {len(ledgers[name]) if name in ledgers else '':>7} {account.seen.total() or '':>8} {len(own) or '':>6}"
            f" {'' if back is None else f'{back:.2f} s':>12} {_slowest(account, outages, name) * 1000:>12.0f} ms"
            f"  {dict(account.errors) or ''}"
        )
    return "\n".join(lines)


def broken_promises(
    accounts: Accounts,
    outages: Sequence[Outage],
    ledgers: Mapping[str, set[int]],
    status: Mapping[str, Mapping[str, Any]],
    samples: Sequence[Sample],
) -> list[str]:
    """Return the promises that were broken, one line each."""
    broken = [
        f"{one.name}: not back within {BACK:g} s of its remote"
        for one in outages
        if one.back is None or one.back > BACK
    ]
    for name, account in accounts.of.items():
        broken += _of_one(name, account, outages, status[name])
        if name in ledgers:
            broken += _lost(name, account, ledgers[name])
    bus = status["bridge"]["bus"]
    if bus["rejected"] or bus["gaps"]:
        broken.append(f"bus: {bus['rejected']} messages rejected, {bus['gaps']} lost")
    first, last = samples[0], samples[-1]
    if last.resident - first.resident > _WARM_UP or last.resident - samples[len(samples) // 2].resident > _RESIDENT:
        broken.append(f"memory grew from {first.resident:.1f} to {last.resident:.1f} MiB")
    if last.descriptors - first.descriptors > _DESCRIPTORS:
        broken.append(f"descriptors grew by {last.descriptors - first.descriptors:.0f}")
    return broken


def _of_one(name: str, account: Account, outages: Sequence[Outage], health: Mapping[str, Any]) -> list[str]:
    broken = []
    if account.open or account.twice:
        broken.append(f"{name}: {len(account.open)} commands without an answer, {account.twice} answered twice")
    if account.strange:
        broken.append(f"{name}: {len(account.strange)} messages that nobody sent, as {account.strange[0]}")
    if disturbed := _disturbed(account, outages, name):
        broken.append(f"{name}: {disturbed} failures while its own remote was well: {dict(account.errors)}")
    if (slowest := _slowest(account, outages, name)) > SLOWEST:
        broken.append(f"{name}: an answer took {slowest:.1f} s while another remote was away")
    if health["status"] != "connected":
        broken.append(f"{name}: {health['status']} in the end")
    sums = health["accounting"]
    if sums["accepted"] != sum(sums[end] for end in _ENDS) or sums["in_flight"] or sums["queued"]:
        broken.append(f"{name}: the sums do not balance: {sums}")
    if sums["accepted"] != len(account.sent):
        broken.append(f"{name}: {len(account.sent)} sent, {sums['accepted']} accepted")
    if account.sent and not account.succeeded:
        broken.append(f"{name}: nothing succeeded")
    return broken


def _lost(name: str, account: Account, ledger: set[int]) -> list[str]:
    broken = []
    if lost := account.succeeded - ledger:
        broken.append(f"{name}: {len(lost)} were acknowledged and never arrived, as {min(lost)}")
    if name in READ and (missing := ledger - account.seen.keys()):
        broken.append(f"{name}: {len(missing)} stored messages never became events, as {min(missing)}")
    return broken
