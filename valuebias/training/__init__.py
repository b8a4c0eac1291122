"""Train reward heads, reward models and language models: PyTorch, TRL and peft."""
