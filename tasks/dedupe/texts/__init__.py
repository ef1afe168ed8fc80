"""Near-duplicate texts: MinHash finds candidates, exact Jaccard decides."""
