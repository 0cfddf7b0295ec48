"""Mercato: a commerce backend for many stores at once."""

__version__ = "0.1.0"
