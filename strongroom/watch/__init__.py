"""What Strongroom notices: pure judgements of facts, what is told of them, and the mail that tells it."""
