"""Inference plug-ins that turn a model and packed token ids into scores.

This package holds no code yet. The plug-in contract, the registry and the torch and ONNX backends
arrive with the scoring release; until then, bring scores with `valuebias.read_scores`.
"""
