"""Recipes: YAML, validated key by key, resolved per tensor into a plan that can run."""

from mergelab.recipes.layout import TensorPlan
from mergelab.recipes.plan import Plan, make_plan
from mergelab.recipes.schema import Recipe, parse_recipe, read_recipe

__all__ = ["Plan", "Recipe", "TensorPlan", "make_plan", "parse_recipe", "read_recipe"]
