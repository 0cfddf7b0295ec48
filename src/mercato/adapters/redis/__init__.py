"""What replicas share through Redis. Nothing is kept there alone, so it may be away or lose everything."""
