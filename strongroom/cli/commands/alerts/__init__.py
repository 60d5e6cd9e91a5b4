"""Commands that report what is wrong, and mail it."""
