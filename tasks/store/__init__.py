"""The `workdir`: content-addressed work in progress. A file that exists is done."""
