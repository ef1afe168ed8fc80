"""Compositions of tasks, and the command line."""
