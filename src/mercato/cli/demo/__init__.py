"""`mercato demo`: two believable stores with a history, made through the public API like any client's."""
