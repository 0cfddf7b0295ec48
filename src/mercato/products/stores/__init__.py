"""Where products keeps its data."""
