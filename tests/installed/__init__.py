"""The wheel alone, in an environment that knows no checkout."""
