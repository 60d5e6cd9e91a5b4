"""Facts as metrics: what each is called, and what is written of it in Prometheus' format."""
