"""Commands that say whether this machine could recover."""
