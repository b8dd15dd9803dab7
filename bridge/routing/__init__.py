"""Runs the commands and routes of events, and the bridge's own operations, and answers them."""
