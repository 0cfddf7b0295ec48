"""Adapters: databases, buses, caches and identity behind the ports that others declare."""
