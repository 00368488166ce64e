"""Which parameters of a training suit a task: trials of a recipe, by Optuna."""
