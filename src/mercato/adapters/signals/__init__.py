"""Signals between the replicas of a process: what changed, so that what is remembered is forgotten."""
