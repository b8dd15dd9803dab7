"""Show the bridge's state beside the bus: log, console, probes, metrics, and messages to the service manager."""
