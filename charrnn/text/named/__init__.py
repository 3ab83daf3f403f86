"""Corpora known by name: the registry, and what downloads, verifies and unpacks them."""
