"""Known functions of exercises as cells of a submission that need none of our packages.

A graded function runs where there is no `mergelab` and no `autograder`. So the cell brings along
the source of the modules that the function comes from, and loads them from itself.
"""

import base64
import json
import zlib
from functools import cache

from autograder.courses import PACKAGE
from autograder.exercise import Exercise

LOADER = """
import base64
import importlib.abc
import importlib.util
import json
import sys
import zlib

SOURCES = json.loads(zlib.decompress(base64.b85decode({packed!r})))


class Carried(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name in SOURCES:
            package = SOURCES[name][0]
            return importlib.util.spec_from_loader(name, self, is_package=package)
        return None

    def exec_module(self, module):
        exec(compile(SOURCES[module.__name__][1], module.__name__, "exec"), module.__dict__)


def load(expression):
    sys.meta_path.append(Carried())
    from importlib import import_module

    for name in [name for name in sys.modules if name.split(".")[0] == "mergelab"]:
        del sys.modules[name]
    known = vars(import_module({module!r})).values()
    exercise = next(each for each in known if getattr(each, "id", None) == {id!r})
    return eval(expression, {{"exercise": exercise}})
"""


def answer(exercise: Exercise, which: str) -> str:
    """A cell that defines the exercise's function as what the expression `which` gives.

    `which` is an expression in `exercise`, such as "exercise.misconceptions[3].function".
    """
    function = eval(which, {"exercise": exercise})
    if exercise.signature.endswith("()"):
        # What it returns is plain data; to make it may take packages that no cell can carry.
        return f"def {exercise.function}():\n    return {function()!r}\n"
    topic = f"autograder.exercises.{exercise.id.partition('/')[0]}"
    module = exercise.reference.__module__
    if not module.startswith(topic):
        module = exercise.misconceptions[0].function.__module__
    loader = LOADER.format(packed=_packed(topic), module=module, id=exercise.id)
    return f"{loader}\n\n{exercise.function} = load({which!r})\n"


@cache
def _packed(topic: str) -> str:
    root = PACKAGE.parent
    files = [*root.glob("mergelab/*.py"), *root.glob("mergelab/*/*.py")]
    files += [*root.glob("mergelab/zoo/dialogues/*.py")]
    files += [PACKAGE / "exercise.py", PACKAGE / "cases.py", PACKAGE / "exercises" / "__init__.py"]
    files += (PACKAGE / "exercises" / topic.rpartition(".")[2]).glob("*.py")
    sources = {}
    for path in sorted(set(files)):
        parts = path.relative_to(root).with_suffix("").parts
        package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if package else parts)
        sources[name] = [package, path.read_text("utf-8")]
    # The other exercises of the topic, and drawing fresh items, take packages that are not there.
    sources[topic] = [True, ""]
    sources["mergelab.zoo.fresh"] = [False, "fresh_items = None"]
    return base64.b85encode(zlib.compress(json.dumps(sources).encode(), 9)).decode()
