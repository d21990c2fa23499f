"""Judges many submissions at once, in processes here or on a cluster; none suffers for another."""

from collections.abc import Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import suppress
from multiprocessing import get_context
from typing import Any

from autograder.trusted import Outputs, Work, judge_work, refused_outputs
from mergelab.errors import UserError
from mergelab.workers import end_with_parent


def judge_all(
    works: Mapping[str, Work], workers: int, executor: Executor | None = None
) -> Iterator[tuple[str, Outputs]]:
    """Names and outputs of works, as they come: in `workers` processes or through `executor`.

    A submission that brings its judge down is judged again alone, and then gets that as its reason.

    Raises `UserError` where there is no sandbox.
    """
    failed: list[str] = []
    for name, outputs in _together(works, workers, executor):
        if outputs is None:
            failed.append(name)
        else:
            yield name, outputs
    for name in failed:
        ((_, outputs),) = _together({name: works[name]}, 1, None)
        yield name, outputs or refused_outputs(works[name], "it brought the grader's process down")


def _together(
    works: Mapping[str, Work], workers: int, executor: Executor | None
) -> Iterator[tuple[str, Outputs | None]]:
    """The same, with None for those whose judge failed."""
    if not works:
        return
    own = None
    if executor is None:
        own = executor = ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=end_with_parent
        )
    try:
        futures: dict[Future[Any], str] = {}
        with suppress(BrokenExecutor):
            for name, work in works.items():
                futures[executor.submit(judge_work, work)] = name
        for name in works.keys() - set(futures.values()):
            yield name, None
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except UserError:
                raise
            except Exception:  # the process died, or the code that judges failed on this one
                yield futures[future], None
    finally:
        if own is not None:
            own.shutdown(wait=True, cancel_futures=True)
