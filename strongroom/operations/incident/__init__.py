"""After a leak: quarantine, seal anew, sign anew."""
