"""What products does: the catalogue, reservations, and holds nobody came back for."""
