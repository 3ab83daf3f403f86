"""Named corpora: the registry, and fetching: download, verification, unpacking."""
