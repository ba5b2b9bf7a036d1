"""Stages that work side by side: a thread before and a thread behind, with short queues between.

::

    thread that reads  --queue-->  this thread  --queue-->  thread that writes

A full queue makes the one before it wait, so that memory stays bounded. Whatever belongs to a
thread is opened, used and closed there. What goes wrong in a thread is raised in this one, and
whichever stage ends early, by an error or by Ctrl-C, ends the others: none is left running when
the ``with`` block is left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, closing, contextmanager
from threading import Condition, Event
from typing import Generic, TypeVar

__all__ = ["Behind", "read_ahead", "write_behind"]

T = TypeVar("T")
W = TypeVar("W")

_PATIENCE = 0.5  # seconds between two looks at signals: on Windows a wait hears none


@contextmanager
def read_ahead(
    make: Callable[[], Generator[T, None, None]], *, depth: int
) -> Iterator[Iterator[T]]:
    """Run a generator in a thread of its own, up to ``depth`` items ahead.

    make: called in that thread; the generator is closed there too. An error of the generator is
    raised behind the items that came before it.
    """
    queue: _Queue[T] = _Queue(depth)

    def work() -> None:
        try:
            with closing(make()) as items:
                for item in items:
                    if not queue.put(item):
                        return
        finally:
            queue.close()

    def follow(future: Future[None]) -> Iterator[T]:
        yield from queue
        future.result()

    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        try:
            yield follow(pool.submit(work))
        finally:
            queue.discard()


@contextmanager
def write_behind(
    open_resource: Callable[[], AbstractContextManager[W]], *, depth: int
) -> Iterator[Behind[W]]:
    """Open a resource in a thread of its own, and have it used there, up to ``depth`` jobs behind.

    The block begins when the resource is open, and ends when all jobs are done and it is closed.
    When the block raises, the jobs that wait are dropped and the resource's context sees an error.
    """
    behind: Behind[W] = Behind(depth)
    with ThreadPoolExecutor(1, thread_name_prefix="write-behind") as pool:
        try:
            behind.start(pool.submit(behind.work, open_resource))
            yield behind
            behind.finish()
        except BaseException:
            behind.abandon()
            raise


class Behind(Generic[W]):
    """A resource in another thread; made by ``write_behind``."""

    resource: W  # to be looked at when the block is over

    def __init__(self, depth: int) -> None:
        self._jobs: _Queue[Callable[[W], object]] = _Queue(depth)
        self._is_open = Event()
        self._is_abandoned = False
        self._future: Future[None] = Future()

    def call(self, job: Callable[[W], object]) -> None:
        """Have ``job`` called with the resource, after those before it.

        Raises what an earlier job or the opening raised.
        """
        if not self._jobs.put(job):
            self._future.result()

    def start(self, future: Future[None]) -> None:
        self._future = future
        while not self._is_open.wait(_PATIENCE):
            pass
        if not hasattr(self, "resource"):
            future.result()

    def work(self, open_resource: Callable[[], AbstractContextManager[W]]) -> None:
        try:
            with open_resource() as resource:
                self.resource = resource
                self._is_open.set()
                for job in self._jobs:
                    job(resource)
                if self._is_abandoned:
                    raise _AbandonedError
        finally:
            self._jobs.discard()
            self._is_open.set()

    def finish(self) -> None:
        self._jobs.close()
        while not self._future.done():
            wait([self._future], _PATIENCE)
        self._future.result()

    def abandon(self) -> None:
        self._is_abandoned = True
        self._jobs.discard()


class _AbandonedError(Exception):
    """Makes a resource clean up; seen by nobody else."""


class _Queue(Generic[T]):
    """A short line of items between two threads; both may close it, the reader for good."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._items: deque[T] = deque()
        self._is_closed = False
        self._changed = Condition()

    def put(self, item: T) -> bool:
        """Wait for room and line up; False when the queue is closed."""
        with self._changed:
            while len(self._items) >= self._depth and not self._is_closed:
                self._changed.wait(_PATIENCE)
            if self._is_closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def __iter__(self) -> Iterator[T]:
        """Yield the items as they come, until the queue is closed and empty."""
        while True:
            with self._changed:
                while not self._items and not self._is_closed:
                    self._changed.wait(_PATIENCE)
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item

    def close(self) -> None:
        """Nothing more comes; what is there can still be taken."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def discard(self) -> None:
        """Nothing more comes or is taken."""
        with self._changed:
            self._is_closed = True
            self._items.clear()
            self._changed.notify_all()
