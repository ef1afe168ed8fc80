"""What a space of vectors looks like: fits, and where they put a row. Arrays in, arrays out."""
