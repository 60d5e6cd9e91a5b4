"""Plug-ins of other packages: which are loaded, which are refused, and what goes on without them."""
