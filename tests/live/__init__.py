"""Real servers on loopback that the adapters are tested against: one module a server."""
