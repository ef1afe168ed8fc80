"""Great Expectations on records, before anything is embedded."""
