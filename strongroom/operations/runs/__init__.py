"""The engine: runs, their steps, and who performs them."""
