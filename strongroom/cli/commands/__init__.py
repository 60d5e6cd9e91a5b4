"""The commands, in rooms with the names of `strongroom.operations`."""
