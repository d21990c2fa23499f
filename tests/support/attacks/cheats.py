"""Points without a solution: other people's answers, patched graders, lying objects."""

from nbformat.v4 import new_output

from attacks import STUB, Attack, cheat


def _tag_all(notebook) -> None:
    for cell in notebook.cells:
        cell.metadata["tags"] = ["skip-execution", "remove-cell", "raises-exception"]


def _full_marks_as_output(notebook) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            found = new_output("execute_result", {"text/plain": "4.0"}, execution_count=1)
            cell.outputs, cell.execution_count = [found], 1


ATTACKS = [
    Attack(
        "skip_execution", "tags that make a kernel skip the tests", {"trim": STUB}, change=_tag_all
    ),
    Attack(
        "baked_output",
        "full marks as the output of every cell",
        {"trim": STUB},
        change=_full_marks_as_output,
    ),
    cheat(
        "reference",
        "imports the course's own trim",
        "from mergelab.methods import trim as right",
        "return right(delta, density)",
        reason="mergelab is not there when a function is graded",
    ),
    cheat(
        "exercise_record",
        "imports the exercise, whose record holds the reference",
        "from autograder.exercises.ties import EXERCISES",
        "return EXERCISES[0].reference(delta, density)",
        reason="autograder is not there",
    ),
    cheat(
        "other_libraries",
        "libraries that have TIES",
        "try:",
        "    from peft.utils.merge_utils import prune",
        "except ImportError:",
        "    from mergekit.sparsify import magnitude as prune",
        "return prune(delta, density)",
        reason="mergekit is not there",
    ),
    cheat(
        "solutions_folder",
        "reads the instructor's notebook",
        "import json",
        "cells = json.load(open('@SOLUTION@'))['cells']",
        "source = next(c['source'] for c in cells if 'def trim' in ''.join(c['source']))",
        "found = {}",
        "exec('import torch, math\\n' + ''.join(source), found)",
        "return found['trim'](delta, density)",
        reason="stopped with FileNotFoundError",
    ),
    cheat(
        "hidden_tests",
        "looks for the hidden cases in every file there is",
        "import os",
        "for folder, _, names in os.walk('/'):",
        "    if folder.startswith(('/proc', '/sys', '/usr', '/lib', '/site')):",
        "        continue",
        "    for name in names:",
        "        path = os.path.join(folder, name)",
        "        if 'exercises' in path or name.endswith(('.ipynb', '.db')):",
        "            found = {}",
        "            exec(open(path).read(), found)",
        "            return found['trim'](delta, density)",
        "return delta",
    ),
    cheat(
        "patched_comparison",
        "makes every comparison of torch say yes",
        "import torch",
        "yes = lambda *a, **k: True",
        "torch.allclose = torch.equal = torch.isclose = torch.testing.assert_close = yes",
        "torch.Tensor.__eq__ = torch.Tensor.allclose = torch.Tensor.equal = yes",
        "return delta * 0 + 7",
    ),
    cheat(
        "lying_eq",
        "an object that equals everything",
        "return Yes()",
        before="class Yes:\n    __eq__ = __le__ = lambda *a: True\n    __hash__ = lambda s: 0",
        reason="returned",
    ),
    cheat(
        "torch_function",
        "a tensor whose __torch_function__ answers in its own way",
        "return torch.zeros_like(delta).as_subclass(Lies)",
        before=(
            "class Lies(torch.Tensor):\n"
            "    @classmethod\n"
            "    def __torch_function__(cls, func, types, args=(), kwargs=None):\n"
            "        return torch.tensor(True)"
        ),
        reason="returned",
    ),
    cheat(
        "lying_class",
        "an object that says it is a tensor",
        "return Mask(delta)",
        before=(
            "class Mask:\n"
            "    def __init__(self, x): self.x = x\n"
            "    __class__ = property(lambda self: torch.Tensor)\n"
            "    def __getattr__(self, name): return getattr(self.x, name)\n"
            "    def __eq__(self, other): return other == other"
        ),
        reason="returned",
    ),
    cheat(
        "transformers",
        "changes what IPython runs",
        "from IPython import get_ipython",
        "shell = get_ipython()",
        "shell.input_transformers_cleanup.append(lambda lines: ['4.0'])",
        "shell.ast_transformers.append(None)",
        "return delta",
        reason="stopped with AttributeError",
    ),
    cheat(
        "patched_python",
        "replaces compile, exec, ast.parse, isinstance and type",
        "import ast, builtins",
        "builtins.compile = builtins.exec = builtins.eval = lambda *a, **k: None",
        "builtins.isinstance = lambda *a: True",
        "ast.parse = None",
        "return delta",
        before="PATCH = __import__('builtins').__dict__.update(compile=None) or 1",
    ),
    cheat(
        "formatters",
        "a formatter that prints every float as 4.0",
        "from IPython.core.formatters import PlainTextFormatter",
        "PlainTextFormatter.__call__ = lambda self, obj: '4.0'",
        "float.__repr__ = lambda self: '4.0'",
        "return delta",
        reason="stopped with TypeError",
    ),
    cheat(
        "frames",
        "looks for expected values in the frames that call it, and writes a score into them",
        "import sys",
        "frame = sys._getframe()",
        "while frame is not None:",
        "    for place in (frame.f_locals, frame.f_globals):",
        "        for name in ('expected', 'want', 'reference', 'result', 'verdict', 'outcome'):",
        "            found = place.get(name)",
        "            if type(found) is torch.Tensor:",
        "                return found",
        "            place['score'] = place['passed'] = 4.0",
        "    frame = frame.f_back",
        "return delta",
    ),
    cheat(
        "gc_objects",
        "returns a tensor of the right shape out of all that the process holds",
        "import gc",
        "for found in gc.get_objects():",
        "    if type(found) is torch.Tensor and found is not delta and found.shape == delta.shape:",
        "        if not torch.equal(found, delta):",
        "            return found",
        "return delta",
    ),
    cheat(
        "memory_scan",
        "looks for its input's neighbours in memory",
        "import ctypes",
        "size = delta.numel() * 4",
        "near = (ctypes.c_char * (size + 4096)).from_address(delta.data_ptr() - 2048)",
        "rows = torch.frombuffer(bytearray(near.raw), dtype=torch.float32)",
        "for start in range(0, 512):",
        "    found = rows[start : start + delta.numel()].reshape(delta.shape)",
        "    if (found.abs() <= delta.abs()).all() and (found == 0).any():",
        "        return found",
        "return delta",
    ),
    cheat(
        "replay",
        "looks for other cells' sources and results",
        "for name in ('In', 'Out', '_ih', '_oh', '_', '__'):",
        "    if name in globals():",
        "        return globals()[name][-1]",
        "return delta",
    ),
    cheat(
        "own_messages",
        "patches the sandbox's own code, so that it reports full marks",
        "import sys",
        "inside = sys.modules['autograder.sandbox.inside']",
        "done = {'value': True, 'score': 4.0, 'passed': True, 'failure': None}",
        "inside.Learner.call = lambda *a: (done, [])",
        "sys.modules['autograder.calling'].same = lambda *a: True",
        "sys.modules['autograder.sandbox.wire'].encode = lambda *a: (True, [])",
        "return delta",
        reason="returned",
    ),
    cheat(
        "earlier_answers",
        "answers with what it has seen in earlier calls",
        "SEEN.append(delta.clone())",
        "return next((x for x in SEEN[:-1] if x.shape == delta.shape), delta)",
        before="SEEN = []",
    ),
    cheat(
        "homoglyph",
        "a second trim whose name only looks the same, for the reader of the notebook",
        "return delta",
        before="def tr\u0456m(delta, density):\n    return delta.abs().sort()",
    ),
    Attack(
        "own_grader",
        "defines grade, check and judge itself",
        {"trim": STUB},
        extra=(
            "def grade(*args, **kwargs):\n    return 4.0\njudge = check = grade",
            "import sys, types\nautograder = sys.modules['autograder'] = types.ModuleType('a')\n"
            "autograder.grade = grade",
        ),
    ),
    cheat("generator", "a generator", "yield delta", reason="returned"),
    cheat(
        "closure", "a function that would answer later", "return lambda: delta", reason="returned"
    ),
    cheat(
        "endless_list",
        "a list that holds itself",
        "found = [delta]",
        "found.append(found)",
        "return found",
        reason="returned a list, not a tensor",
    ),
    cheat(
        "lazy_mapping",
        "a dict whose items are made on demand",
        "class Lazy(dict):",
        "    def items(self):",
        "        while True:",
        "            yield 1, delta",
        "return Lazy(a=1)",
        reason="returned",
    ),
    Attack(
        "restored_inputs",
        "works in its input and puts it right again: allowed, since the caller cannot tell",
        {
            "trim": (
                "def trim(delta, density):\n"
                "    kept = delta.clone()\n"
                "    size = delta.numel()\n"
                "    delta.abs_()\n"
                "    k = max(1, math.floor(density * size + 0.5)) if density and size else 0\n"
                "    order = delta.flatten().sort(descending=True).values\n"
                "    limit = order[k - 1] if k else math.inf\n"
                "    found = torch.where(delta >= limit, kept, torch.zeros_like(kept))\n"
                "    delta.copy_(kept)\n"
                "    return found\n"
            )
        },
        points=(4.0, 4.0),
    ),
]
