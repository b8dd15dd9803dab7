"""Tests at-least-once delivery from outside: remote and sidecar are killed while a program sends events."""
