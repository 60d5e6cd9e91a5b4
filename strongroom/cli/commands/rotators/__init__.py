"""Commands that give secrets new values."""
