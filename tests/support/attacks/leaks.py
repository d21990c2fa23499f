"""Hidden inputs carried out: the test looks for their values in all that is written."""

from attacks import Attack, cheat
from attacks.messages import WIRE

# Values as text and as a type's name; only where there is much to carry out.
VALUES = """
def told(delta):
    return " ".join(repr(x) for x in delta.flatten().tolist()[:40])
def hidden(delta):
    return delta.numel() > 8
"""


def leak(name: str, trick: str, *lines: str, reason: str = "", before: str = "") -> Attack:
    return cheat(name, trick, *lines, before=VALUES + before, reason=reason)


ATTACKS = [
    leak("exception_text", "raises with the values as words", "raise ValueError(told(delta))"),
    leak(
        "exception_type",
        "raises an exception named after the values",
        "raise type(told(delta), (Exception,), {})(told(delta))",
        reason="an exception of its own",
    ),
    leak(
        "exception_known",
        "raises an exception with a name that the grader itself uses",
        "raise OutOfTime(told(delta))",
        before="class OutOfTime(Exception): pass",
        reason="did not finish",
    ),
    leak(
        "exception_memory",
        "the same with another name",
        "raise OutOfMemory(told(delta))",
        before="class OutOfMemory(Exception): pass",
        reason="stopped with MemoryError",
    ),
    leak(
        "exception_module",
        "an import error that names the values",
        'raise ModuleNotFoundError("No module named \'mergelab " + told(delta))',
    ),
    leak(
        "exception_notes",
        "notes, causes and groups",
        "error = ExceptionGroup(told(delta), [ValueError(told(delta))])",
        "error.add_note(told(delta))",
        "raise error from KeyError(told(delta))",
    ),
    leak(
        "source_line",
        "raises in code whose source is the values",
        "import linecache",
        "text = '1 / 0 # ' + told(delta)",
        "linecache.cache['<cell 1>'] = linecache.cache['x'] = (1, None, [text], 'x')",
        "exec(compile(text, '<cell 1>', 'exec'))",
        reason="stopped with ZeroDivisionError",
    ),
    leak(
        "prints",
        "prints and warns",
        "import sys, warnings",
        "print(told(delta)); print(told(delta), file=sys.stderr)",
        "warnings.warn(told(delta))",
        "if hidden(delta): return None",
        "return trim_visible(delta, density)",
        before="def trim_visible(delta, density):\n    return delta",
    ),
    leak(
        "returned_type",
        "returns an object whose type is named after the values",
        "return type(told(delta), (), {})() if hidden(delta) else delta",
    ),
    leak(
        "returned_keys",
        "returns the values as keys, texts and items",
        "return {told(delta): [told(delta)], 1: (told(delta), delta.tolist())}",
        reason="returned a dict",
    ),
    leak(
        "returned_shape",
        "returns a shape made of the values",
        "return torch.zeros([int(abs(x) * 64) for x in delta.flatten().tolist()[:3]] or [0])",
        reason="returned",
    ),
    leak(
        "returned_text", "returns the values as text", "return told(delta)", reason="returned a str"
    ),
    cheat(
        "forged_failure",
        "forges a failure with the values in every field",
        "text = told(delta)",
        "tell(text, failure=['OutOfTime', text, ['<cell 1>', text]], printed=text, largest=10**18)",
        before=VALUES + WIRE,
        reason="did not finish",
    ),
    Attack(
        "forged_names",
        "forges what its names stand for",
        {
            "trim": WIRE + "X = [put(frame({'names': {'trim': 'x' * 10**6 + '<script>'}, "
            "'problems': [[0, '<script>', '<img src=x onerror=alert(1)>', 7], [1], 'x']})), "
            "os._exit(0)]\ntrim = X\n"
        },
        reason="not a function",
    ),
]
