"""A class on one machine: JupyterHub, an account for each person, one exchange."""
