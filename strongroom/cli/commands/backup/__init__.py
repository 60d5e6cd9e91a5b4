"""Commands that make a backup."""
