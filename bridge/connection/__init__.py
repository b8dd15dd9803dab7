"""Integrations by id: their life, their health, and the execution of operations."""
