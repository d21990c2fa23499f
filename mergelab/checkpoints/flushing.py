"""Bringing written bytes to disk while more are being made, so that the end need not wait for all.

Left alone, the system keeps most of a model in memory until the final fsync, which then takes as
long as copying the whole of it.
"""

from __future__ import annotations

import os
import threading

EVERY = 64 << 20  # bytes: seldom enough to cost nothing, often enough to keep the disk at work


class Flusher:
    """Flushes a file in a thread of its own, each time `every` more bytes have been written to it.

    `wrote` is told of every write, from any thread; `stop` waits for the thread and raises the
    `OSError` that the disk gave, if any: the system reports each only once.
    """

    def __init__(self, every: int = EVERY) -> None:
        self._every = every
        self._waiting: dict[int, int] = {}
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._error: OSError | None = None

    def wrote(self, descriptor: int, nbytes: int) -> None:
        """Note that so many bytes were written to an open file."""
        with self._change:
            self._waiting[descriptor] = self._waiting.get(descriptor, 0) + nbytes
            if self._waiting[descriptor] < self._every or self._stopped:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="flusher", daemon=True)
                self._thread.start()
            self._change.notify()

    def stop(self) -> None:
        """End the thread. Raises the first `OSError` of a flush."""
        with self._change:
            self._stopped = True
            self._change.notify()
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _work(self) -> None:
        while (descriptor := self._next()) is not None:
            try:
                os.fdatasync(descriptor)
            except OSError as error:
                self._error = self._error or error
                return

    def _next(self) -> int | None:
        """The file with the most bytes to flush, as soon as there are enough; None at the end."""
        with self._change:
            while not self._stopped:
                most = max(self._waiting, key=self._waiting.__getitem__)
                if self._waiting[most] >= self._every:
                    self._waiting[most] = 0
                    return most
                self._change.wait()
            return None
