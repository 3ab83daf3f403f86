"""Analyses of a model and of its texts: numbers only; `charrnn.cli.display` draws them."""
