"""Where notifications are kept."""
