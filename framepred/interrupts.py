"""Ctrl-C, SIGTERM and SIGHUP: they end the work where it stands, but not inside a delicate step.

A handler that raises may do so between any two steps of the main thread: also between taking a
lock and the block that gives it back, after which every thread that wants the lock waits for ever;
between the entry of a ``with`` block and its body, after which nothing cleans up; while a compiled
module is being loaded, which makes an error of it; and in a destructor, where it is lost. What this
package itself hands from thread to thread needs no lock (see ``relay``). In the other places a
signal is put off for a moment, and what was lost is raised again.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["heed_signals"]

# Modules with locks, and all that they call.
_LOCKING = frozenset(("concurrent", "logging", "queue", "rich", "threading"))
_LOADING = "ExtensionFileLoader."  # of compiled modules, and all that they call
_ENTERING = "contextlib"  # itself alone: the blocks that it enters may take long
_PAUSE = 0.01  # seconds until the next try
_PATIENCE = 0.5  # seconds after which a signal counts wherever the thread stands,
_FEWEST_TRIES = 40  # but not before so many: on a busy machine they are far apart
_LOST = 0.2  # seconds after which it is looked whether what was raised is being handled


@contextmanager
def heed_signals() -> Iterator[None]:
    """A block in which Ctrl-C raises KeyboardInterrupt, the others SystemExit(128 + number).

    To be entered in the main thread. What a parent has chosen to ignore stays ignored: SIGINT for a
    job in the background, SIGHUP under nohup.
    """
    leave = _Leaver()
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        numbers.append(signal.SIGINT)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        leave.is_over = True
        for number, handler in before.items():
            signal.signal(number, handler)


class _Leaver:
    """The handler; called again and again until the main thread is on its way out."""

    def __init__(self) -> None:
        self.is_over = False
        self._since: float | None = None
        self._n_tries = 0  # since then
        self._raised: BaseException | None = None
        self._is_own = False  # called by itself, not by somebody who has lost patience

    def __call__(self, number: int, frame: FrameType | None) -> None:
        is_own, self._is_own = self._is_own, False
        if is_own and self._raised is not None and _is_handled(self._raised):
            self._call_again(number, _LOST)
            return
        now = time.monotonic()
        if self._since is None:
            self._since, self._n_tries = now, 0
        self._n_tries += 1
        is_early = now - self._since < _PATIENCE or self._n_tries < _FEWEST_TRIES
        if _is_delicate(frame) and is_early:
            self._call_again(number, _PAUSE)
            return
        self._since = None
        leaving = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
        self._raised = leaving
        self._call_again(number, _LOST)
        raise leaving

    def _call_again(self, number: int, pause: float) -> None:
        def call() -> None:
            time.sleep(pause)
            if self.is_over:
                return
            self._is_own = True
            main = threading.main_thread().ident
            if main is not None and hasattr(signal, "pthread_kill"):  # wakes it where it waits
                signal.pthread_kill(main, number)
            else:
                signal.raise_signal(number)

        # A thread of ``threading`` would need one of the locks that may just be held.
        _thread.start_new_thread(call, ())


def _is_handled(error: BaseException) -> bool:
    """Whether this thread is in a block that is left, or cleaned up, because of an error."""
    seen: set[int] = set()
    current = sys.exc_info()[1]
    while current is not None and id(current) not in seen:
        if current is error:
            return True
        seen.add(id(current))
        current = current.__context__
    return False


def _is_delicate(frame: FrameType | None) -> bool:
    """Whether an exception raised in a frame could leave a lock held or a block unguarded."""
    if frame is not None and _name_module(frame) == _ENTERING:
        return True
    while frame is not None:
        if _name_module(frame) in _LOCKING or frame.f_code.co_qualname.startswith(_LOADING):
            return True
        frame = frame.f_back
    return False


def _name_module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
