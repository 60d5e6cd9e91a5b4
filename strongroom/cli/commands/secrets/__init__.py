"""Commands on secrets: those of the local store, and new values for any."""
