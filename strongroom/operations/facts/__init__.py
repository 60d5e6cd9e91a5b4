"""What operators ask of an installation, gathered once: alerts, health and metrics are views of it."""
