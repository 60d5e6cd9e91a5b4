"""Guided procedures: a recovery, and an incident, step by step on record."""
