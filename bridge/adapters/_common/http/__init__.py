"""HTTP for adapters: the one place that knows httpx.

`client` is what an adapter uses; `pool` and `connection` are the transport underneath, `errors` and `status` say what
a failure or an HTTP status means, `target` makes the configuration's blocks ready for use.
"""
