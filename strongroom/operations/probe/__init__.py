"""Real requests against sources and targets: rights and speed."""
