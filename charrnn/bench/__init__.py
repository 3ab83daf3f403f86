"""The measurements behind ``charrnn bench``: charrnn compared with plain baselines.

Each round runs both for a moment, one after the other, so that a busy machine slows down both;
results are medians over the rounds. Limits are what this machine reaches with nothing else to do.
"""
