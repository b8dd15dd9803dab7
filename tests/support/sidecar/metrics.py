"""Read `/metrics` of a running sidecar, as Prometheus does."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.sidecar.sidecar import Sidecar

Series = tuple[str, frozenset[tuple[str, str]]]
"""The name of a sample, and its labels."""


async def samples_of(running: Sidecar) -> dict[Series, float]:
    """Return the value of each series of a sidecar whose status page is on."""
    async with httpx.AsyncClient(base_url=running.page, trust_env=False) as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    found: dict[Series, float] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            series = sample.name, frozenset(sample.labels.items())
            assert series not in found, f"twice: {series}"
            found[series] = sample.value
    return found
