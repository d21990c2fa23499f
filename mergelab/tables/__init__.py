"""The course's result tables: what is measured, how it is spread, written and checked.

Each table has a module: which measurements it needs, and the rows it makes of their outcomes.
Scales are chosen on dev items (`choices`), every score of a comparison is on test items.
"""
