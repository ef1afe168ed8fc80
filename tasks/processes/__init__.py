"""Child processes that answer calls: spawned, never forked, each with an environment of its own."""
