"""New values for secrets whose old ones are known to others, or have been used for too long."""
