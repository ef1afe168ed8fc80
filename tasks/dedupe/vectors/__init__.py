"""Semantic duplicates: cells of a fit find candidates, the cosine decides."""
