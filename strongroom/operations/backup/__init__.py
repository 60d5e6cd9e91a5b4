"""Making a backup: plan, capture, upload, commit, verify, repair, sweep."""
