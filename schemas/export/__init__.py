"""Export: destinations of conversions, what is exported, and what became of it."""
