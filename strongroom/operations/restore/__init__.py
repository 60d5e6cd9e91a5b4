"""Bringing secrets back, and undoing it."""
