"""Commands that make, list and try keys."""
