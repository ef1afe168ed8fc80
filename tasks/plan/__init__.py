"""What changed against the published release, and what must be embedded."""
