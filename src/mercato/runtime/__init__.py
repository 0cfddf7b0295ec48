"""The composition root: settings, adapters, services, and the life of a process."""
