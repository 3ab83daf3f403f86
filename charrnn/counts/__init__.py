"""A frozen count model of the training text, mixed with the network's predictions. No torch.

    table    what is stored: contexts of up to 10 tokens, and how often each token followed them
    build    counts a text: interpolated modified Kneser-Ney (Chen and Goodman 1999), pruned
    mixing   its probabilities, and their mixture with a network's, in numpy: the reference
    fit      the mixture's weights, fitted on a part of the training text that was kept back

The compiled mixture is in ``charrnn/inference/count_functions.py``.
"""
