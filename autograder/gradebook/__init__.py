"""The gradebook of a class: where it lies, late work, grades to hand on, and item analysis."""
