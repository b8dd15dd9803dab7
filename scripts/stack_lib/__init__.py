"""`scripts/stack`: what compose/compose.yaml starts, as plain processes on loopback."""
