"""Where users keeps its data."""
