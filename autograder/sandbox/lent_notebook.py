"""The helpers that write a recipe down."""

from mergelab.notebook.experiments import CONFLICT, LOW, recipe

__all__ = ["CONFLICT", "LOW", "recipe"]
