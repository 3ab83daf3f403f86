"""Turn what a user names into training windows.

    sources -> corpus -> tokenizer -> dataset -> streams

- `open`: files, named corpora (`named`) and datasets, by name
- `find_files`: files, folders, globs and standard input; `file_kinds`: which of them are text;
  `sources`: their bytes, decompressed
- `extract` and `markup`: the text of documents such as .docx
- `encoding_guess`: the encoding of each file; `encoding`: decode it
- `reader`: line ends, byte order marks; `documents`: separators; `notices`: what was changed or
  looks suspicious
- `corpus`: a text with the counts of its characters, read in blocks and never held in memory
- `tokenizer`: characters, bytes or sentencepiece pieces
- `split`: training, validation and test parts; `id_file` and `manifest`: their files on disk
- `dataset`: all of that in one folder; `dataset_cache`: where it is cached
- `streams`: windows of ids for training
- `profile`: describe a text before training

`CHARRNN_DATASETS` names a folder for cached datasets, `CHARRNN_CORPORA` one with copies of named
corpora; without them, both are in the user's cache.
"""
