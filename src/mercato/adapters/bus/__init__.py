"""What carries events between services."""
