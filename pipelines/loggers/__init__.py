"""Where a run's curves and results go beside its folder: Weights & Biases, MLflow or TensorBoard. Off unless --log-to asks for it."""
