"""Reconciliation: whether the books of orders, payments, stock and provider add up."""
