"""Commands that look into a backup."""
