"""One judgement of an installation: what is wrong, remarkable, unknown and good, each in one text.

Alerts, checks, metrics, the page and the compliance controls are views of it, and judge nothing themselves.
"""
