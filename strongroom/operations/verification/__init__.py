"""Verification that covers: what was read of every replica, and what is read next."""
