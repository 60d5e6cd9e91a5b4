"""Commands for those who approve what others asked for."""
