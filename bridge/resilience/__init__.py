"""Retry, circuit breaker, limits, and the guard that composes them."""
