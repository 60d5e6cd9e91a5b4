"""Commands on keys: made, listed, tried, replaced, destroyed."""
