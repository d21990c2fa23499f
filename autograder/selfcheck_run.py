"""The child process of `mergelab check`: defines a learner's functions and judges them.

Called as `python -m autograder.selfcheck_run REQUEST RESULTS`. REQUEST is a JSON file: the
essential part of each code cell, and the exercises with the names of their functions. RESULTS gets
one JSON line for everything that is found out, as it is found out, so that a run that is stopped
has still said something.
"""

import json
import linecache
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any


def main(request_path: str, results_path: str) -> None:
    """Run one request."""
    request = json.loads(Path(request_path).read_text("utf-8"))
    with open(results_path, "a", encoding="utf-8") as results:

        def say(**found: Any) -> None:
            results.write(json.dumps(found) + "\n")
            results.flush()

        warnings.simplefilter("ignore")
        sys.path.append(os.getcwd())  # a learner's own modules lie beside the notebook
        namespace: dict[str, Any] = {"__name__": "__main__"}
        for number, source in request["cells"]:
            say(running=number)
            problem = _run(number, source, namespace)
            if problem:
                say(cell=number, problem=problem)
        for exercise, function in request["exercises"]:
            say(judging=exercise)
            say(exercise=exercise, **_judged(exercise, function, namespace))


def _run(number: int, source: str, namespace: dict[str, Any]) -> str | None:
    """Run one cell; what stopped it, or None."""
    name = f"<cell {number}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        exec(compile(source, name, "exec"), namespace)
    except SyntaxError as error:
        return f"cannot be read (line {error.lineno}: {error.msg})"
    except BaseException as error:  # also sys.exit() in a cell
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == name]
        where = f", line {lines[-1]}" if lines else ""
        words = str(error).strip().splitlines()
        return f"stops with {type(error).__name__}{where}" + (f": {words[0]}" if words else "")
    return None


def _judged(exercise_id: str, name: str, namespace: dict[str, Any]) -> dict[str, Any]:
    from autograder.exercise import find
    from autograder.feedback import Feedback
    from autograder.judging import judge

    if name not in namespace:
        return {"missing": True}
    function = namespace[name]
    feedback = Feedback(judge(find(exercise_id), function, "visible"), function)
    return {"text": repr(feedback), "record": feedback.verdict.record()}


if __name__ == "__main__":
    main(*sys.argv[1:])
