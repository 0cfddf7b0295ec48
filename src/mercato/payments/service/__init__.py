"""What payments does: its use cases, and what it settles with the provider."""
