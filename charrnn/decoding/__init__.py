"""Choosing the next symbol, over any ``step(ids, state) -> (logits, state)``.

Every decoder gets the logits of the first symbol and the state that produced them, and yields one
symbol per step. None of them knows a network, a tokenizer or a file.
"""
