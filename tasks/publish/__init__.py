"""Stage rows as a candidate, commit the same transaction, move the tags."""
