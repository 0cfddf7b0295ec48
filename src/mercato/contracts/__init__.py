"""What services know of each other: events, data and protocols. No behaviour."""
