"""What drives an outcome: as it is observed, among customers alike, and where chance decided."""
