"""`scripts/storm`: one sidecar with all nine integrations, whose remotes die in turn under load."""
