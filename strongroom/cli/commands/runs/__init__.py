"""Commands for runs and the cluster."""
