"""The judge: facts of an installation, and what is wrong, remarkable or good by them."""
