"""The keys that seal and open: their health, use, exposure and replacement."""
