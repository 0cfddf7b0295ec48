"""Where payments are kept."""
