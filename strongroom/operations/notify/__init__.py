"""Who is notified of what is wrong, when, and by which way."""
