from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

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
    heed_signals()
    begin = time.monotonic()
    with pytest.raises((KeyboardInterrupt, SystemExit)) as caught, sending(number, after=0.1):
        time.sleep(20)
    assert time.monotonic() - begin < 5
    if number != signal.SIGINT:
        assert caught.value.code == 128 + number  # type: ignore[attr-defined]
    else:
        assert caught.type is KeyboardInterrupt


def test_what_a_parent_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    heed_signals()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_signal_waits_for_the_end_of_a_step_with_a_lock() -> None:
    heed_signals()
    condition = threading.Condition()
    ended = []

    def step() -> None:
        with condition:
            condition.wait(0.3)
        ended.append(time.monotonic())
        time.sleep(20)

    with pytest.raises(KeyboardInterrupt), sending(signal.SIGINT, after=0.05):
        step()
    assert len(ended) == 1
    assert time.monotonic() - ended[0] < 5


def test_a_signal_does_not_wait_for_ever() -> None:
    heed_signals()
    condition = threading.Condition()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt), sending(signal.SIGINT, after=0.05), condition:
        condition.wait(20)
    assert time.monotonic() - begin < 5


# In a process of its own: what is tested for is standing still for ever.
HAMMER = """
import random, signal, sys, threading, time
from framepred.interrupts import heed_signals
signal.signal(signal.SIGINT, signal.default_int_handler)
heed_signals()
random.seed(0)
for _ in range(300):
    condition, is_over = threading.Condition(), []
    def work():
        while not is_over:
            with condition:
                condition.notify()
            time.sleep(0.0002)  # or this thread alone would ever get the lock
    thread = threading.Thread(target=work)
    thread.start()
    threading.Timer(random.uniform(0, 0.003), signal.raise_signal, (signal.SIGINT,)).start()
    try:
        while True:
            with condition:
                condition.notify()
            sum(range(200))
    except KeyboardInterrupt:
        is_over.append(True)
    thread.join()
print("all threads ended")
"""


def test_no_lock_stays_held() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", HAMMER],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.stdout == "all threads ended\n", answer.stderr
