"""The working state: run records, slots, catalog and events, in SQL."""
