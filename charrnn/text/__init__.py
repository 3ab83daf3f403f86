"""Turn what a user names into training windows.

    sources -> corpus -> tokenizer -> dataset -> streams

`open` accepts files, folders, globs, standard input and named corpora (`named`); `profile`
describes a text before training. A text is read twice, in blocks, and never held in memory.
`CHARRNN_DATASETS` names a folder for cached datasets, `CHARRNN_CORPORA` one with copies of named
corpora; without them, both are in the user's cache.
"""
