"""Migrations: how alembic runs them, and the tables every service has."""
