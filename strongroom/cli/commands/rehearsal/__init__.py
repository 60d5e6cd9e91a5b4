"""Commands that rehearse a recovery."""
