"""What carries a drill out: its stack, its load, the break and its mending, the watch, the record."""
