"""`scripts/stack`: what compose/compose.yaml, or compose/fabric.yaml, starts, as plain processes on loopback."""
