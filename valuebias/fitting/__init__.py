"""The entry points ``valuebias.fit``, ``fit_ablation`` and ``load``, and their results."""
