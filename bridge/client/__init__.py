"""What a Python program on the bus uses to reach the bridge."""
