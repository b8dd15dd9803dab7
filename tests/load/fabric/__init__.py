"""Tests a fabric of bridges from outside: servers, sidecars and connections die while programs use it."""
