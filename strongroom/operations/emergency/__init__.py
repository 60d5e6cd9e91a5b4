"""The backup for the safe: medium, kit, escrow."""
