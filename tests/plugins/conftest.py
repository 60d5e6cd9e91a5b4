"""The sample is a package of somebody else's: its tests run where it is installed (see test_sample)."""

collect_ignore = ["sample"]
