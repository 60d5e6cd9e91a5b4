"""What is on record: ledger, audit report, compliance."""
