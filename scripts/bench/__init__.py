"""The benchmark: Strongroom beside whichever of restic, borg and age is installed.

``python -m scripts.bench`` (``make bench``) makes the data, measures whole processes one after another in
turns, and writes ``scripts/bench/results``: a JSON file for each seed, and the report made of them. It
imports nothing of the product: what needs it is a program of its own, and what is compared is what a person
types.
"""
