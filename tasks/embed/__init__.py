"""Content that has no vector yet → vector files, by shard."""
