"""Work that is spread over processes here, or over the workers of a Dask cluster.

Every task runs with one thread of torch's, so the results are the same bytes whatever the number
of workers, and small models gain more from two processes than from two threads. A worker that is
lost costs time and nothing else: its tasks are done again.

>>> with workers(None) as here:
...     here.map(abs, [-2, 3])
[2, 3]
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from typing import Any

from mergelab.errors import UserError

# A pool that breaks so often without finishing a single task breaks because of the task.
ATTEMPTS = 3


class Workers:
    """Where tasks are done: `start` makes an executor, None does them in this process."""

    def __init__(self, start: Callable[[], Executor] | None = None) -> None:
        self._start = start
        self._executor = start() if start else None

    def map(
        self,
        function: Callable[[Any], Any],
        tasks: Sequence[Any],
        done: Callable[[int, Any], None] = lambda place, result: None,
    ) -> list[Any]:
        """Return the result of every task, in the order of the tasks.

        Both `function` and its tasks must be picklable. `done` is called in this process with the
        place of a task and its result, as they come.

        Raises what a task raises, and `UserError` where worker processes keep dying.
        """
        results: dict[int, Any] = {}

        def finish(place: int, result: Any) -> None:
            results[place] = result
            done(place, result)

        if self._executor is None:
            from mergelab.engine import one_thread_each

            with one_thread_each():
                for place, task in enumerate(tasks):
                    finish(place, function(task))
        failures = 0
        while len(results) < len(tasks):
            before = len(results)
            waiting = [place for place in range(len(tasks)) if place not in results]
            try:
                self._try(partial(_with_one_thread, function), tasks, waiting, finish)
            except BrokenExecutor:
                failures = failures + 1 if len(results) == before else 1
                if failures == ATTEMPTS or self._start is None:
                    raise UserError(
                        "worker processes keep dying; is there enough memory? Try --workers 1"
                    ) from None
                self.close()
                self._executor = self._start()
        return [results[place] for place in range(len(tasks))]

    def _try(
        self,
        function: Callable[[Any], Any],
        tasks: Sequence[Any],
        places: Sequence[int],
        finish: Callable[[int, Any], None],
    ) -> None:
        assert self._executor is not None
        futures = {self._executor.submit(function, tasks[place]): place for place in places}
        try:
            for future in as_completed(futures):
                finish(futures[future], future.result())
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def close(self) -> None:
        """End the processes; tasks that have not begun are dropped."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def workers(count: int | None, scheduler: str | None = None) -> Iterator[Workers]:
    """Yield `count` processes here, the cluster of a Dask `scheduler`, or this process for None.

    Raises `UserError` if Dask is not installed or no scheduler answers at the address.
    """
    if scheduler is not None:
        with dask_executor(scheduler) as executor:
            yield Workers(lambda: executor)
        return
    pool = partial(ProcessPoolExecutor, count, get_context("spawn"), initializer=_prepare_worker)
    found = Workers(pool if count else None)
    try:
        yield found
    finally:
        found.close()


@contextmanager
def dask_executor(scheduler: str) -> Iterator[Executor]:
    """Yield an executor on the Dask cluster at an address such as tcp://10.0.0.1:8786.

    Raises `UserError` if Dask is not installed or no scheduler answers there.
    """
    try:
        from distributed import Client
    except ImportError:
        raise UserError("--scheduler needs Dask: pip install 'mergelab[dask]'") from None
    try:
        client = Client(scheduler, timeout=20)
    except (OSError, ValueError) as error:
        words = str(error).strip().splitlines() or ["no answer"]
        raise UserError(f"{scheduler}: no Dask scheduler answers there ({words[0]})") from None
    with client:
        # Results of equal tasks may be shared; a task whose worker is lost is done again.
        yield client.get_executor(retries=ATTEMPTS)


def end_with_parent() -> None:
    """See that this process ends when the one that started it does, however that ends.

    For the `initializer` of a pool: its processes would wait for work for ever.
    """
    parent = parent_process()

    def wait() -> None:
        assert parent is not None
        parent.join()
        os._exit(1)

    if parent is not None:
        threading.Thread(target=wait, daemon=True).start()


def _prepare_worker() -> None:
    from mergelab.console import quiet_transformers

    end_with_parent()
    quiet_transformers()


def _with_one_thread(function: Callable[[Any], Any], task: Any) -> Any:
    """Run on a worker. The setting stays: another thread of it may be in a task of its own."""
    import torch

    torch.set_num_threads(1)
    return function(task)
