"""The words every part of Mercato shares. No I/O, no third-party library but msgspec."""
