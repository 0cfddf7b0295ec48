"""Calling other processes over HTTP."""
