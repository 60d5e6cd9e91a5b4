"""Strongroom in containers, run by Podman: for ``make test-long``."""
