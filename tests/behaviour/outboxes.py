"""Reading the events that a service has sent."""

OWN = "WHERE type <> 'audit.recorded' ORDER BY position"
"""What a service says of its own things; that somebody did it is told beside."""
