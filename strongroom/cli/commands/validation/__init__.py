"""Commands that compare live secrets with a backup."""
