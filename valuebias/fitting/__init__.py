"""The door: ``valuebias.fit``, ``fit_ablation`` and ``load``, and what they return."""
