"""The whole embedded instance as one file: its backup, its restore, and how it moves elsewhere."""
