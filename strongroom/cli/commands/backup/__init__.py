"""Commands that make a backup, also the one in the safe."""
