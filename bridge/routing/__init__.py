"""From an event to its answer: commands, routes, and the bridge's own operations."""
