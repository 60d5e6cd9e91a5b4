"""What every command prints, word for word: text, JSON and exit code, on houses that never change.

A file of this folder is a script and its answers at once. Lines that begin with ``$`` are typed, what stands
below each is what came of it, and ``python -m tests.golden`` writes the answers anew.
"""
