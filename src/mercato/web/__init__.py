"""The HTTP contract: what every endpoint promises, whatever service it belongs to."""
