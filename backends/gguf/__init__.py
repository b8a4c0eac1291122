"""GGUF files: what they say of a model, completed where that is certain, or refused."""
