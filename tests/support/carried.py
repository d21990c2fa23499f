"""Known functions of exercises as cells of a submission that need none of our packages.

A graded function runs where there is no `mergelab` and no `autograder`. So the cell brings along
the source of the modules that the function comes from, and loads them from itself.
"""

import ast
import base64
import json
import zlib
from functools import cache

from autograder.courses import PACKAGE
from autograder.exercise import Exercise

OURS = ("autograder", "mergelab")
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
    loader = LOADER.format(packed=_packed(module), module=module, id=exercise.id)
    return f"{loader}\n\n{exercise.function} = load({which!r})\n"


@cache
def _packed(module: str) -> str:
    """The sources of a module and of all of ours that it imports, packed."""
    # Drawing fresh items takes packages that are not there, and no function needs it.
    sources: dict[str, list[object]] = {"mergelab.zoo.fresh": [False, "fresh_items = None"]}
    for parent in ("mergelab", "mergelab.zoo", "autograder.exercises", module.rpartition(".")[0]):
        sources[parent] = [True, ""]
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = PACKAGE.parent.joinpath(*name.split("."))
        package = path.is_dir()
        file = path / "__init__.py" if package else path.with_suffix(".py")
        if name in sources or not file.is_file():
            continue
        sources[name] = [package, file.read_text("utf-8")]
        for node in ast.walk(ast.parse(sources[name][1])):
            if isinstance(node, ast.ImportFrom) and node.module:
                found = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
                waiting += [each for each in found if each.split(".")[0] in OURS]
    return base64.b85encode(zlib.compress(json.dumps(sources).encode(), 9)).decode()
