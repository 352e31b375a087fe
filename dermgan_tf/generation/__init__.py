"""A SavedModel becomes filed images: plans, sweeps, seeds, translated photos."""
