"""Which items are copies of which: marked, never removed."""
