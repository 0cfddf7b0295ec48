"""Identity: passwords, signing keys and tokens."""
