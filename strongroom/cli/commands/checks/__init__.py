"""Commands that look: is all well, could this machine recover, do live secrets hold?"""
