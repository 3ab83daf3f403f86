"""From files to training windows: sources, corpus, tokenizer, dataset, streams."""
