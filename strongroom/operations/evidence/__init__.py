"""What is on record, and what can be shown of it: ledger, signed reports, pages."""
