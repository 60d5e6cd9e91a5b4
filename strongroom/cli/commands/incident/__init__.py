"""Commands after a leak: quarantine, re-encrypt, release."""
