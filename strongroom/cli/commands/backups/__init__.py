"""Commands on backups: look into them, find secrets in them, keep and remove them."""
