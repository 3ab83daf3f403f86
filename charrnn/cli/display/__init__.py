"""Everything that draws for a person: progress, colored text, plots, pages and the editor."""
