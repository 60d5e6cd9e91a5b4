"""The keys that seal and open: tried, used, replaced, and destroyed for good."""
