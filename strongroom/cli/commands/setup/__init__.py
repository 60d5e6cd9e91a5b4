"""Commands that configure, probe and show Strongroom."""
