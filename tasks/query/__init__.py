"""Search a published release."""
