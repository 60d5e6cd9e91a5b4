"""What Strongroom can prove: the catalog, and in time the ledger and its reports."""
