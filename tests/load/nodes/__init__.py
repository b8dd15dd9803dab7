"""`python -m tests.load.nodes`: what it costs to be a node of a fabric with many others."""
