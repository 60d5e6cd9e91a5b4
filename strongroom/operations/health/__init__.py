"""Findings about an installation, area by area."""
