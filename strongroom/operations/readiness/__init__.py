"""Whether this machine could recover, now."""
