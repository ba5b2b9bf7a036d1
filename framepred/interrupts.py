"""Ctrl-C, SIGTERM and SIGHUP: they end the work where it stands, but not inside a delicate step.

A handler that raises may do so between any two steps of the main thread: also between taking a
lock and the block that gives it back, after which every thread that wants the lock waits for ever,
and between the entry of a ``with`` block and its body, after which nothing cleans up. What this
package itself hands from thread to thread needs no such lock (see ``relay``). In the modules below,
which have them, a signal is put off for a moment.
"""

from __future__ import annotations

import _thread
import signal
import threading
import time
from types import FrameType

__all__ = ["heed_signals"]

_LOCKING = frozenset(("concurrent", "logging", "queue", "rich", "threading"))  # and what they call
_ENTERING = "contextlib"  # itself alone: the blocks that it enters may take long
_PAUSE = 0.01  # seconds until the next try
_PATIENCE = 0.5  # seconds after which a signal counts wherever the thread stands


def heed_signals() -> None:
    """From now on raise KeyboardInterrupt at Ctrl-C, and SystemExit(128 + number) at the others.

    To be called in the main thread. What a parent has chosen to ignore stays ignored: SIGINT for a
    job in the background, SIGHUP under nohup.
    """
    leave = _Leaver()
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGTERM, leave)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, leave)


class _Leaver:
    """The handler; called again and again until the main thread stands where it may be left."""

    def __init__(self) -> None:
        self._since: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if _is_delicate(frame) and now - self._since < _PATIENCE:
            # A thread of ``threading`` would need one of the locks that may just be held.
            _thread.start_new_thread(_signal_again, (number,))
            return
        self._since = None
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)


def _is_delicate(frame: FrameType | None) -> bool:
    """Whether an exception raised in ``frame`` could leave a lock held or a block unguarded."""
    if frame is not None and _name_module(frame) == _ENTERING:
        return True
    while frame is not None:
        if _name_module(frame) in _LOCKING:
            return True
        frame = frame.f_back
    return False


def _name_module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _signal_again(number: int) -> None:
    time.sleep(_PAUSE)
    main = threading.main_thread().ident
    if main is not None and hasattr(signal, "pthread_kill"):  # wakes it where it waits
        signal.pthread_kill(main, number)
    else:
        signal.raise_signal(number)
