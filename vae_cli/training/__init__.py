"""From prepared images to a run folder: objective, averages, checkpoints and the two-phase loop."""
