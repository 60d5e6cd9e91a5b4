"""Commands for the backup in the safe."""
