"""Notifications: emails about what happened, each once, to those whom it concerns."""
