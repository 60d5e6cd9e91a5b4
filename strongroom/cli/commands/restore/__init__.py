"""Commands that bring secrets back."""
