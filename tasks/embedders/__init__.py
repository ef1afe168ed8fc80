"""Models behind one protocol: resolve, fingerprint, load, encode."""
