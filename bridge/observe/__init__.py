"""What the bridge shows of itself beside the bus: its log."""
