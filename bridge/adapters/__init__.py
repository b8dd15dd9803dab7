"""One file for each protocol; the only place that knows the client libraries."""
