"""The soak: steady load, a fault now and then, and the slope of everything that must not grow."""
