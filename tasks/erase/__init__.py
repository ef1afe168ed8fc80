"""Erasing whole records: from the table and its files, the companions and the `workdir`."""
