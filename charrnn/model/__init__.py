"""What a trained network is on disk: parameters, the model file, saved states. No torch."""
