"""The file format: pure bytes, no network, no tasks. ``FORMAT.md`` beside it is the specification."""
