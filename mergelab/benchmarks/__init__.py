"""Measurements that anyone can make again: of the kernels, each held against a plain copy.

A time is given only for what was first found to be right.
"""
