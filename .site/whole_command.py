"""The whole command line as one object, for typer to write its reference from."""

from mergelab.cli import plug_in

app = plug_in()
