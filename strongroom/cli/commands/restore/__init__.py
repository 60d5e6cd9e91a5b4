"""Commands that bring secrets back, and rehearse it."""
