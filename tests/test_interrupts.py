from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from apart import run_apart

from framepred.interrupts import heed_signals

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are a matter of POSIX")

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers_are_put_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@contextmanager
def sending(number: int, *, after: float) -> Iterator[None]:
    timer = threading.Timer(after, os.kill, (os.getpid(), number))
    timer.start()
    yield
    timer.join()


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_is_raised_at_once_where_nothing_is_held(number: int) -> None:
    begin = time.monotonic()
    with (
        heed_signals(),
        pytest.raises((KeyboardInterrupt, SystemExit)) as caught,
        sending(number, after=0.1),
    ):
        time.sleep(20)
    assert time.monotonic() - begin < 5
    if number != signal.SIGINT:
        assert caught.value.code == 128 + number  # type: ignore[attr-defined]
    else:
        assert caught.type is KeyboardInterrupt


def test_what_a_parent_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with heed_signals():
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_signal_waits_for_the_end_of_a_step_with_a_lock() -> None:
    condition = threading.Condition()
    ended = []

    def step() -> None:
        with condition:
            condition.wait(0.3)
        ended.append(time.monotonic())
        time.sleep(20)

    with heed_signals(), pytest.raises(KeyboardInterrupt), sending(signal.SIGINT, after=0.05):
        step()
    assert len(ended) == 1
    assert time.monotonic() - ended[0] < 5


def test_a_signal_does_not_wait_for_ever() -> None:
    condition = threading.Condition()
    begin = time.monotonic()
    with (
        heed_signals(),
        pytest.raises(KeyboardInterrupt),
        sending(signal.SIGINT, after=0.05),
        condition,
    ):
        condition.wait(20)
    assert time.monotonic() - begin < 5


class Hungry:
    """What is raised in a destructor is lost."""

    def __del__(self) -> None:
        time.sleep(0.3)


def end_hungry() -> None:
    hungry = Hungry()
    del hungry
    time.sleep(20)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_was_lost_is_raised_again(number: int) -> None:
    begin = time.monotonic()
    with (
        heed_signals(),
        pytest.raises((KeyboardInterrupt, SystemExit)),
        sending(number, after=0.1),
    ):
        end_hungry()
    assert time.monotonic() - begin < 5


def test_who_cleans_up_is_left_alone() -> None:
    ended = []

    def work() -> None:
        try:
            time.sleep(20)
        finally:
            try:
                raise ValueError  # something else goes wrong meanwhile
            except ValueError:
                time.sleep(0.5)
            time.sleep(0.5)
            ended.append(True)

    with heed_signals(), pytest.raises(KeyboardInterrupt), sending(signal.SIGINT, after=0.1):
        work()
    assert ended == [True]


def test_a_second_signal_counts_in_cleaning_up_too() -> None:
    ended = []

    def work() -> None:
        try:
            time.sleep(20)
        finally:
            with sending(signal.SIGINT, after=0.3):
                time.sleep(20)
            ended.append(True)

    begin = time.monotonic()
    with heed_signals(), pytest.raises(KeyboardInterrupt), sending(signal.SIGINT, after=0.1):
        work()
    assert ended == []
    assert time.monotonic() - begin < 5


# In a process of its own: what is tested for is standing still for ever.
HAMMER = """
import os, random, signal, sys, threading, time
from framepred.interrupts import heed_signals
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.setswitchinterval(1e-5)  # seconds; so that a signal may come at any place, and soon
random.seed(0)
for _ in range(100):
    condition, is_over = threading.Condition(), []
    def work():
        while not is_over:
            with condition:
                condition.notify()
            time.sleep(0.0002)  # or this thread alone would ever get the lock
    thread = threading.Thread(target=work)
    thread.start()
    timer = threading.Timer(random.uniform(0, 0.003), signal.raise_signal, (signal.SIGINT,))
    try:
        with heed_signals():
            timer.start()
            while True:
                for _ in range(1000):
                    with condition:
                        condition.notify()
                    sum(range(200))
                os.sched_yield()  # on a busy machine the other threads may be left without a turn
    except KeyboardInterrupt:
        is_over.append(True)
    thread.join()
print("all threads ended")
"""


def test_no_lock_stays_held() -> None:
    assert run_apart(HAMMER) == "all threads ended\n"
