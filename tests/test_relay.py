from __future__ import annotations

import gc
import signal
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import pytest
from apart import run_apart

from framepred.relay import read_ahead, work_beside, write_behind


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "nothing happened for 5 s"
        time.sleep(0.001)


class Source:
    """Counts what was made, and where."""

    def __init__(self, n: int, *, error: Exception | None = None) -> None:
        self.n = n
        self.error = error
        self.n_made = 0
        self.threads: set[int] = set()

    def __call__(self) -> Generator[int, None, None]:
        self.threads.add(threading.get_ident())
        try:
            for i in range(self.n):
                self.n_made += 1
                yield i
            if self.error is not None:
                raise self.error
        finally:
            self.threads.add(threading.get_ident())
            self.n = -1  # closed


class Store:
    """A resource that says what became of it."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.items: list[int] = []
        self.ending = ""
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    @contextmanager
    def open(self) -> Iterator[Store]:
        self.threads.add(threading.get_ident())
        if self.refuses:
            raise ValueError("cannot be opened")
        try:
            yield self
        except BaseException:
            self.ending = "abandoned"
            raise
        else:
            self.ending = "closed"
        finally:
            self.threads.add(threading.get_ident())

    def add(self, item: int) -> None:
        self.gate.wait(5)
        self.threads.add(threading.get_ident())
        self.items.append(item)


def adding(item: int) -> Callable[[Store], None]:
    return lambda store: store.add(item)


def failing(store: Store) -> None:
    raise OSError("the disk is full")


# Reading.


def test_all_items_come_in_order_from_one_other_thread() -> None:
    source = Source(100)
    with read_ahead(source, depth=3) as items:
        assert list(items) == list(range(100))
    assert len(source.threads) == 1
    assert threading.get_ident() not in source.threads


def test_reading_runs_ahead_but_not_far() -> None:
    source = Source(100)
    with read_ahead(source, depth=3) as items:
        assert next(items) == 0
        wait_until(lambda: source.n_made == 5)  # one taken, three in the queue, one in hand
        time.sleep(0.05)
        assert source.n_made == 5


def test_leaving_early_ends_the_reading() -> None:
    source = Source(10**9)
    with read_ahead(source, depth=2) as items:
        for item in items:
            if item == 5:
                break
    assert source.n == -1
    assert source.n_made < 10
    assert len(source.threads) == 1  # it was closed where it ran


def test_an_error_in_reading_comes_behind_the_items_before_it() -> None:
    got = []

    def take_all() -> None:
        with read_ahead(Source(3, error=ValueError("damaged")), depth=8) as items:
            for item in items:
                got.append(item)

    with pytest.raises(ValueError, match="damaged"):
        take_all()
    assert got == [0, 1, 2]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_an_error_of_the_reader_ends_the_reading(error: type[BaseException]) -> None:
    source = Source(10**9)

    def take_one() -> None:
        with read_ahead(source, depth=8) as items:
            next(items)
            raise error

    with pytest.raises(error):
        take_one()
    assert source.n == -1


# Writing.


def test_all_jobs_are_done_in_order_in_one_other_thread() -> None:
    store = Store()
    with write_behind(store.open, depth=3) as behind:
        for i in range(100):
            behind.call(adding(i))
    assert store.items == list(range(100))
    assert store.ending == "closed"
    assert behind.resource is store
    assert len(store.threads) == 1
    assert threading.get_ident() not in store.threads


def test_jobs_wait_in_a_short_queue() -> None:
    store = Store()
    store.gate.clear()
    handed = []

    def hand_over() -> None:
        with write_behind(store.open, depth=3) as behind:
            for i in range(10):
                behind.call(adding(i))
                handed.append(i)

    caller = threading.Thread(target=hand_over)
    caller.start()
    wait_until(lambda: len(handed) == 4)  # one in work, three in the queue
    time.sleep(0.05)
    assert len(handed) == 4
    store.gate.set()
    caller.join()
    assert store.items == list(range(10))


def test_what_cannot_be_opened_is_refused_at_once() -> None:
    store = Store(refuses=True)
    with pytest.raises(ValueError, match="cannot be opened"), write_behind(store.open, depth=8):
        pytest.fail("the block must not begin")


def test_an_error_in_writing_stops_the_caller() -> None:
    store = Store()
    handed = []

    def hand_over() -> None:
        with write_behind(store.open, depth=8) as behind:
            behind.call(adding(1))
            behind.call(failing)
            for i in range(10**6):
                behind.call(adding(i))
                handed.append(i)

    with pytest.raises(OSError, match="disk is full"):
        hand_over()
    assert store.items == [1]
    assert len(handed) < 1000
    assert store.ending == "abandoned"


def test_an_error_in_the_last_job_is_not_lost() -> None:
    store = Store()
    with pytest.raises(OSError, match="disk is full"), write_behind(store.open, depth=8) as behind:
        behind.call(failing)
    assert store.ending == "abandoned"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_an_error_of_the_caller_abandons_the_resource(error: type[BaseException]) -> None:
    store = Store()
    store.gate.clear()
    opening = threading.Timer(0.05, store.gate.set)

    def hand_over() -> None:
        with write_behind(store.open, depth=8) as behind:
            for i in range(5):
                behind.call(adding(i))
            opening.start()
            raise error

    with pytest.raises(error):
        hand_over()
    opening.join()
    assert store.items in ([], [0])  # the job in work was done, those that waited were not
    assert store.ending == "abandoned"


def pass_on(source: Source, store: Store, *, fail_at: int | None = None) -> None:
    with (
        write_behind(store.open, depth=2) as behind,
        read_ahead(source, depth=2) as items,
    ):
        for item in items:
            behind.call(failing if item == fail_at else adding(item))


def test_both_at_once() -> None:
    store = Store()
    pass_on(Source(1000), store)
    assert store.items == list(range(1000))


def test_an_error_in_writing_ends_the_reading_too() -> None:
    source, store = Source(10**9), Store()
    with pytest.raises(OSError, match="disk is full"):
        pass_on(source, store, fail_at=20)
    assert source.n == -1
    assert store.items == list(range(20))


def test_an_error_in_reading_abandons_the_writing() -> None:
    store = Store()
    with pytest.raises(ValueError, match="damaged"):
        pass_on(Source(20, error=ValueError("damaged")), store)
    assert store.ending == "abandoned"


# Work beside.


def test_work_is_shared_by_other_threads() -> None:
    barrier = threading.Barrier(3)

    def work(i: int) -> tuple[int, int]:
        barrier.wait(5)  # three at once, or none gets on
        return i, threading.get_ident()

    with work_beside(3) as crew:
        promises = [crew.begin(lambda i=i: work(i)) for i in range(9)]  # type: ignore[misc]
        found = [promise.get() for promise in promises]
        assert promises[0].get() == found[0]
    assert [i for i, _ in found] == list(range(9))
    assert len({thread for _, thread in found} - {threading.get_ident()}) == 3


def test_an_error_in_work_beside_is_raised_by_who_asks() -> None:
    with work_beside(2) as crew:
        bad, good = crew.begin(lambda: 1 / 0), crew.begin(lambda: 1)
        with pytest.raises(ZeroDivisionError):
            bad.get()
        assert good.get() == 1


def test_work_that_has_not_begun_is_left_at_the_end() -> None:
    done: list[int] = []
    gate = threading.Event()

    def leave_much_to_do() -> None:
        with work_beside(1) as crew:
            crew.begin(lambda: gate.wait(5))
            for i in range(10):
                crew.begin(lambda i=i: done.append(i))  # type: ignore[misc]
            threading.Timer(0.05, gate.set).start()
            raise ValueError("over")

    with pytest.raises(ValueError, match="over"):
        leave_much_to_do()
    wait_until(lambda: threading.active_count() == 1 or gate.is_set())
    assert not done


# Interruptions. In a process of its own: what is tested for is standing still for ever.

HAMMER = """
import random, signal, threading
from contextlib import contextmanager
from framepred.relay import read_ahead, work_beside, write_behind
class Interrupted(BaseException):
    pass
def interrupt(*_):
    raise Interrupted
def make():
    yield from range(10**9)
@contextmanager
def open_list():
    yield []
signal.signal(signal.SIGALRM, interrupt)
random.seed(0)
for _ in range(300):
    try:
        with (
            work_beside(2) as crew,
            write_behind(open_list, depth=4) as behind,
            read_ahead(make, depth=4) as items,
        ):
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.001, 0.01))
            for item in items:
                behind.call(lambda written: None)
                crew.begin(lambda: None).get()
    except Interrupted:
        pass
print(threading.active_count(), "thread left")
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no such timer")
def test_an_interruption_at_any_moment_ends_all_threads() -> None:
    assert run_apart(HAMMER) == "1 thread left\n"


def test_what_was_opened_goes_with_the_block() -> None:
    """Not when Python looks for circles: codecs with all their pictures would stay so long."""
    gc.disable()
    try:
        store = Store()
        with write_behind(store.open, depth=2) as behind:
            behind.call(lambda opened: opened.items.append(1))
        crew_work = Store()
        with work_beside(2) as crew:
            crew.begin(crew_work.items.copy).get()
        gone = [weakref.ref(each) for each in (store, behind, crew, crew_work)]
        del store, behind, crew, crew_work
        assert [each() for each in gone] == [None] * 4
    finally:
        gc.enable()
