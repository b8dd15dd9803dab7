"""WebSocket for adapters: `connector` opens connections, `connection` is one, `errors` is the table of errors."""
