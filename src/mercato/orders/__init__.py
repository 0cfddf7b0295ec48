"""Orders: what was bought, at what price, and what became of it."""
