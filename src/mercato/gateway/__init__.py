"""The gateway: one address before all services. It decides nothing that a service decides."""
