"""Training: the plan (corpus, machine, budget -> sizes), and the loop of truncated BPTT.

Progress is reported as values; nothing here prints, draws or writes text.
"""
