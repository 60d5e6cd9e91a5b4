"""Whole ways that a person walks, from the first command to the last word printed."""
