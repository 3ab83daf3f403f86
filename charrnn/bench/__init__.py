"""The measurements behind ``charrnn bench``: ours beside the same written plainly, in turns.

Each round runs both for a moment, one after the other, so that a busy machine is busy for both;
figures are medians over the rounds. Limits are what this machine reaches with nothing else to do.
"""
