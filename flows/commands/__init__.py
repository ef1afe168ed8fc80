"""The commands of `vecmill`, a module for each kind; `flows.cli` puts them together."""
