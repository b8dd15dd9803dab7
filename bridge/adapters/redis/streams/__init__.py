"""Queues on Redis Streams: entries, consumer groups, reading continuously and one at a time."""
