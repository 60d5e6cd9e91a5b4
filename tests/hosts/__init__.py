"""Several hosts that share a broker and a database, and no folder."""
