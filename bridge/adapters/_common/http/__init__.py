"""HTTP for adapters.

Adapters use `client`. `pool`, `connection` and `stream` are the transport below it; `errors` and `status` say
what the end of a connection and an HTTP status mean; `target` resolves the configuration's blocks, `url` encodes.
"""
