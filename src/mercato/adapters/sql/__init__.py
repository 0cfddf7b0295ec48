"""Relational databases: the atomic step and what is written in it."""
