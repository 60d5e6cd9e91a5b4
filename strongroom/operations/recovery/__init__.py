"""A recovery in six steps: its record, what is next, what is told to whom, and the report at its end."""
