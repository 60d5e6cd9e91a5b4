"""Who types a command, as :mod:`strongroom.system.person` tells it."""

from strongroom.system.person import who

__all__ = ["who"]
