"""Fusion: how the model's and the Distiller's predictions become one distribution, and where in a step that happens."""
