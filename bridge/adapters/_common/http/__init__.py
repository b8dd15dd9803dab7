"""HTTP for adapters; httpx is imported here and nowhere else.

Adapters use `client`. `pool`, `connection` and `stream` are the transport below it; `errors` and `status` are the
tables from failures and HTTP statuses to the bridge's errors; `target` resolves the configuration's blocks.
"""

from bridge.core.lean import without

with without("click", "pygments", "rich"):
    import httpx  # noqa: F401 - the modules here then find it imported
