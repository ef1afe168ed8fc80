"""Near-duplicate pictures: perceptual hashes find candidates, small grey pictures decide."""
