"""Stages that several hosts reach: what is on them, who does what there, and what becomes of it."""
