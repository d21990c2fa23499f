"""What is there of `mergelab` when a function is graded: nothing that merges.

Lessons lend their solutions the helpers that write a recipe down. All else a learner writes.
"""
