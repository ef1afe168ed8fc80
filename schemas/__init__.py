"""What the data is: the spec, Arrow schemas, identities, references, manifests."""
