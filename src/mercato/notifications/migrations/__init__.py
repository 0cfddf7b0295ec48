"""Revisions, oldest first. Migrations are history: never edit one that has been released."""
