"""A Dask cluster on this machine, for tests."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def local_cluster(count: int) -> Iterator[Any]:
    """A scheduler and `count` worker processes of one thread each.

    Whoever starts Dask's workers has its variables for threads (MKL_NUM_THREADS and others) from
    then on; a later test must not.
    """
    from distributed import LocalCluster

    before = dict(os.environ)
    try:
        with LocalCluster(
            n_workers=count, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster:
            yield cluster
    finally:
        os.environ.clear()
        os.environ.update(before)
