"""Plug-ins of Acme for Strongroom."""
