"""Looks that change nothing: could this machine recover, do live secrets hold, have sources drifted?"""
