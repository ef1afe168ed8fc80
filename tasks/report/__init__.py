"""One self-contained HTML page per build."""
