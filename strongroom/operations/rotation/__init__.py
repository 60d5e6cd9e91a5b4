"""Bringing backups to other recipients: re-wrap and re-encrypt."""
