"""Approvals: what k named people have to agree to before it is done, and the proof that they did."""
