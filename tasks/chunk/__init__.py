"""Records → items with hashes, cut in the embedder's own tokens."""
