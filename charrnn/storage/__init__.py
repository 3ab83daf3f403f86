"""Files that are whole or absent, checked tensors, format versions, caches, memory."""
