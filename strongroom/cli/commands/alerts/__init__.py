"""Commands that report what is wrong, tell people, and hand out metrics."""
