"""The course's exercises, one module per topic, each with a tuple `EXERCISES`."""
