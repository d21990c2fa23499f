"""The one exception that users see: a single line that says what, where and what to do."""

_HALF = 1000  # characters; a longer message keeps its beginning and its end


class UserError(Exception):
    """Input that a person can correct; the command line prints it and exits with status 2.

    The message is one line: what is wrong, where, and what to write or do instead.

    >>> str(UserError("recipe.yaml: unknown key 'densty'; did you mean 'density'?"))
    "recipe.yaml: unknown key 'densty'; did you mean 'density'?"
    >>> str(UserError("first line\\n  second line"))
    'first line second line'
    >>> print(UserError("tensor '\\x1b[2J' is missing"))
    tensor '\\x1b[2J' is missing
    """

    def __init__(self, message: str) -> None:
        text = " ".join(str(message).split())
        if len(text) > 2 * _HALF:
            text = f"{text[:_HALF]} ... {text[-_HALF:]}"
        # names of tensors and files are a stranger's: what would steer a terminal is written out
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text))
