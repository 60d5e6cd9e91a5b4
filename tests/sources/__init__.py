"""The sources and destinations, against one suite and each on its own."""
