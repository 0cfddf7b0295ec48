"""Caches of encoded answers."""
