"""The one exception that users see: a single line that says what, where and what to do."""


class UserError(Exception):
    """Input that a person can correct; the command line prints it and exits with status 2.

    The message is one line: what is wrong, where, and what to write or do instead.

    >>> str(UserError("recipe.yaml: unknown key 'densty'; did you mean 'density'?"))
    "recipe.yaml: unknown key 'densty'; did you mean 'density'?"
    >>> str(UserError("first line\\n  second line"))
    'first line second line'
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))
