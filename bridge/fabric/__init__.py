"""Bridges on several machines, joined over NATS with JetStream: shared events, shared integrations, one leader."""
