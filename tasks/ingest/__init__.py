"""List, read and normalise: source files → records and rejects."""
