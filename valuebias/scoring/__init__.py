"""From models, prompts and words to scores."""
