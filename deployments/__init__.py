"""Deployments for a Prefect server, shipped as package data."""
