"""`python -m mergelab` is the command `mergelab`."""

from mergelab.cli import main

main()
