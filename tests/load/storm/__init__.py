"""`scripts/storm`: one sidecar with all nine integrations under load, whose remotes are killed in turn."""
