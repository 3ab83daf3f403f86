"""What goes on inside a model: numbers, no drawing."""
