"""Measurements inside a model: numbers only; `charrnn.cli.display` draws them."""
