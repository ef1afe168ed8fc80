"""The Lance protocol: transactions, releases, companions."""
