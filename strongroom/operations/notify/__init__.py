"""Who is told of what is wrong, when, and by which way."""
