"""Servers that speak just enough of a protocol, and misbehave at one point of it: a table of points and faults."""
