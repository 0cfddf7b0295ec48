"""Payments: money captured once for an order, and given back never more than that."""
