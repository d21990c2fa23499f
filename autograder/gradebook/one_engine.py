"""One database engine for all the gradebooks that a run opens.

nbgrader opens its gradebook a dozen times for each submission, each time with an engine of its own
that compiles every statement anew: two fifths of the time that recording a submission takes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def one_engine() -> Iterator[None]:
    """Within this block gradebooks at one URL share an engine, and so the statements it knows.

    Not for threads: nbgrader finds the shared engines wherever it runs in this process.
    """
    from nbgrader import api

    make, engines = api.create_engine, {}

    def shared(url: str, **settings: Any) -> Any:
        if url not in engines:
            engines[url] = make(url, **settings)
        return engines[url]

    api.create_engine = shared
    try:
        yield
    finally:
        api.create_engine = make
        for engine in engines.values():
            engine.dispose()
