"""Show the bridge's state beside the bus: log, status page, probes, metrics, and messages to the service manager."""
