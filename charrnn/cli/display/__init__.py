"""What a person sees: progress, coloured text, plots, pages and the editor."""
