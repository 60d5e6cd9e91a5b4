"""Commands that show what is on record, signed."""
