"""What the calendar looks at from time to time, each as a small run."""
