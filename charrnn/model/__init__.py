"""Store a trained network on disk: parameters, the model file, saved states. No torch."""
