"""Models to score: where their files lie, what their configurations and tokenizers mean."""
