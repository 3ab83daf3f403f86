"""What a person sees: progress, colored text, plots, pages and the editor."""
