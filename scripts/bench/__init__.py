"""The benchmark: Strongroom beside whichever of restic, borg and age is installed.

``python -m scripts.bench`` (``make bench``) makes the data, measures whole processes one
after another in turns, and writes ``scripts/bench/results/latest.md``. It imports nothing of the product,
so that what it measures is what a person runs.
"""
