"""Clusters and map: fits are made, extended, matched with those before them."""
