"""Learners' functions in a sandbox: another process that sees no course, no network, no files."""
