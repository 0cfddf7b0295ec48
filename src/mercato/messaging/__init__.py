"""Events from a committed change to their effect elsewhere, each exactly once."""
