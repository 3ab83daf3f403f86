"""Decoding: choose tokens one after another, given a network's logits.

``filters`` and ``choice`` choose one token, as plain Python or ``compiled``; ``sampler`` samples
texts with them, and ``beam`` searches for the most probable texts (``hypotheses``). ``constraints``
compiles patterns (``regex_parser``, ``expressions``, ``automaton``, ``token_automaton``) to the
tables that both follow. None of these knows a network, a tokenizer or a file; ``generation``
connects them with a model's ``vocabulary`` and ``output_text``.
"""
