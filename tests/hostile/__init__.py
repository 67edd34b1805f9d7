"""A generator of hostile inputs: sound files that are damaged, and commands with values that nobody means.

``python -m tests.hostile --cases 10000 --seed 1`` runs them all and shows every case that fails.
"""
