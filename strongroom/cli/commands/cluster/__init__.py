"""Commands about the hosts of an installation: which there are, how one joins, and how one is removed."""
