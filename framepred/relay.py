"""Stages that work side by side: a thread before and a thread behind, with short queues between.

::

    thread that reads  --queue-->  this thread  --queue-->  thread that writes
                                   |        ^
                                   v        |  work on one frame each, in any order
                                  a few threads

A full queue makes the one before it wait, so that memory stays bounded. Whatever belongs to a
thread is opened, used and closed there. What goes wrong in a thread is raised in this one, and
whichever stage ends early, by an error or by Ctrl-C, ends the others: none is left running when
the ``with`` block is left.

Ctrl-C is raised between any two steps of this thread, also between taking a lock of
``threading.Condition`` and giving it back; the other threads would then wait for it for ever. So
what passes from one thread to another passes through ``queue.SimpleQueue``, which holds no lock
while Python code runs.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

__all__ = ["Behind", "Crew", "Promise", "await_value", "read_ahead", "work_beside", "write_behind"]

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

    def follow() -> Iterator[T]:
        yield from queue
        worker.join()

    worker = _Worker(work, "read-ahead")
    try:
        worker.start()
        yield follow()
    finally:
        queue.discard()
        worker.wait()


@contextmanager
def write_behind(
    open_resource: Callable[[], AbstractContextManager[W]], *, depth: int
) -> Iterator[Behind[W]]:
    """Open a resource in a thread of its own, and have it used there, up to ``depth`` jobs behind.

    The block begins when the resource is open, and ends when all jobs are done and it is closed.
    When the block raises, the jobs that wait are dropped and the resource's context sees an error.
    """
    behind: Behind[W] = Behind(open_resource, depth)
    try:
        behind.start()
        yield behind
        behind.finish()
    except BaseException:
        behind.abandon()
        raise


class Behind(Generic[W]):
    """A resource in another thread; made by ``write_behind``."""

    resource: W  # to be looked at when the block is over

    def __init__(self, open_resource: Callable[[], AbstractContextManager[W]], depth: int) -> None:
        self._open_resource = open_resource
        self._jobs: _Queue[Callable[[W], object]] = _Queue(depth)
        self._opened = _Mark()
        self._is_abandoned = False
        self._worker = _Worker(self._work, "write-behind")

    def call(self, job: Callable[[W], object]) -> None:
        """Have ``job`` called with the resource, after those before it.

        Raises what an earlier job or the opening raised.
        """
        if not self._jobs.put(job):
            self._worker.join()

    def start(self) -> None:
        self._worker.start()
        self._opened.wait()
        if not hasattr(self, "resource"):
            self._worker.join()

    def _work(self) -> None:
        try:
            with self._open_resource() as resource:
                self.resource = resource
                self._opened.set()
                for job in self._jobs:
                    job(resource)
                if self._is_abandoned:
                    raise _AbandonedError
        finally:
            self._jobs.discard()
            self._opened.set()

    def finish(self) -> None:
        self._jobs.close()
        self._worker.join()

    def abandon(self) -> None:
        self._is_abandoned = True
        self._jobs.discard()
        self._worker.wait()


@contextmanager
def work_beside(n_threads: int) -> Iterator[Crew]:
    """Have work done by a few threads, which end with the block; what has not begun then is not."""
    crew = Crew(n_threads)
    try:
        crew.start()
        yield crew
    finally:
        crew.finish()


class Crew:
    """Threads that share the work; made by ``work_beside``.

    They are for work that lets others run beside it, as numpy does. How much waits at a time is up
    to who begins it.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._work: SimpleQueue[Callable[[], None] | _End] = SimpleQueue()
        self._is_over = False
        self._workers = [_Worker(self._follow, f"beside-{i}") for i in range(n_threads)]

    def begin(self, work: Callable[[], T]) -> Promise[T]:
        """Have ``work`` called in one of the threads; it must not wait for others of its kind."""
        promise = Promise(work)
        self._work.put(promise.keep)
        return promise

    def start(self) -> None:
        for worker in self._workers:
            worker.start()

    def finish(self) -> None:
        self._is_over = True
        for _ in self._workers:
            self._work.put(_End())
        for worker in self._workers:
            worker.wait()

    def _follow(self) -> None:
        while True:
            work = self._work.get()
            if self._is_over or isinstance(work, _End):
                return
            work()
            del work  # else what it made would be held until the next comes


class Promise(Generic[T]):
    """What comes of work that a crew does."""

    _value: T

    def __init__(self, work: Callable[[], T]) -> None:
        self._work: Callable[[], T] | None = work
        self._error: BaseException | None = None
        self._kept = _Mark()

    def keep(self) -> None:
        """Do the work; called once."""
        assert self._work is not None
        try:
            self._value = self._work()
        except BaseException as error:  # noqa: BLE001 (raised by ``get``)
            self._error = error
        finally:
            self._work = None  # with all that it holds
            self._kept.set()

    def get(self) -> T:
        """Wait for what the work returns; raises what it raised."""
        self._kept.wait()
        if self._error is not None:
            raise self._error
        return self._value


def await_value(value: T | Promise[T]) -> T:
    """What is there already, or what a promise comes to; raises what its work raised."""
    return value.get() if isinstance(value, Promise) else value


class _AbandonedError(Exception):
    """Makes a resource clean up; seen by nobody else."""


class _Worker:
    """A thread whose end can be waited for, and whose error is raised in the one that waits."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._work: Callable[[], None] | None = work
        self._error: BaseException | None = None
        self._ended = _Mark()
        self._thread = Thread(target=self._run, name=name)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        assert self._work is not None
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 (raised by ``join``)
            self._error = error
        finally:
            # It may hold who holds this: codecs with all their pictures would stay for long.
            self._work = None
            self._ended.set()

    def wait(self) -> None:
        """Return when the thread has ended, however it did; at once if it never began."""
        if self._thread.ident is not None:
            self._ended.wait()
            self._thread.join()

    def join(self) -> None:
        """Wait, and raise what the thread raised."""
        self.wait()
        if self._error is not None:
            raise self._error


class _Mark:
    """Something that happens once, in one thread, and is waited for in another."""

    def __init__(self) -> None:
        self._told: SimpleQueue[None] = SimpleQueue()
        self._is_set = False

    def set(self) -> None:
        self._is_set = True
        self._told.put(None)

    def wait(self) -> None:
        while not self._is_set:
            with suppress(Empty):
                self._told.get(timeout=_PATIENCE)


class _End:
    """Behind the last item of a queue."""


class _Queue(Generic[T]):
    """A short line of items from one thread to one other; both may close it, the reader for good.

    There is a token for every free place: who puts an item takes one, who takes it gives it back.
    """

    def __init__(self, depth: int) -> None:
        self._items: SimpleQueue[T | _End] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(depth):
            self._room.put(None)
        self._is_closed = False
        self._is_discarded = False

    def put(self, item: T) -> bool:
        """Wait for room and line up; False when the queue is closed."""
        while not self._is_closed:
            try:
                self._room.get(timeout=_PATIENCE)
            except Empty:
                continue
            if not self._is_closed:
                self._items.put(item)
                return True
        return False

    def __iter__(self) -> Iterator[T]:
        """Yield the items as they come, until the queue is closed and empty."""
        while not self._is_discarded:
            try:
                item = self._items.get(timeout=_PATIENCE)
            except Empty:
                continue
            if isinstance(item, _End) or self._is_discarded:
                return
            self._room.put(None)
            yield item

    def close(self) -> None:
        """Nothing more comes; what is there can still be taken."""
        self._is_closed = True
        self._items.put(_End())
        self._room.put(None)

    def discard(self) -> None:
        """Nothing more comes or is taken."""
        self._is_discarded = True
        self.close()
