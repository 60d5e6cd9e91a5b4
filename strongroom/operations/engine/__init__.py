"""The engine: runs of jobs, their steps, who performs them, and who has to approve them."""
