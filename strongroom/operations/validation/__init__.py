"""Whether secrets that live now are there, hold, and match their backup."""
