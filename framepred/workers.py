"""Processes that compute beside this one, for work in Python that its threads would take in turns.

A worker is given a job as bytes and gives bytes back, through pipes. It is started without
anything of this process, such as its main module or the folder that it runs in, so that a program
needs no precaution to use what uses workers, and what lies in that folder is not imported.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

__all__ = ["Workers", "count_workers", "serve"]

_log = logging.getLogger(__name__)

# What a worker runs: of all packages of this name that there may be, this very one.
_CODE = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location({package!r}, {file!r})
sys.modules[spec.name] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
importlib.import_module({module!r}).main()
"""
_LENGTH = struct.Struct(">I")
_MOST = 8  # workers


def count_workers() -> int:
    """How many workers are worth their start here; 0: none."""
    n_cores = os.cpu_count() or 1
    can_start = bool(sys.executable) and not getattr(sys, "frozen", False)
    return min(_MOST, n_cores) if can_start and n_cores > 1 else 0


class Workers:
    """Some processes that run one function of a module of this package on jobs.

    ::

        with Workers(work, 4) as workers:
            future = workers.submit(b"job")
            result = future.result()  # what work(b"job") returns

    The module calls ``serve(work)`` in its function ``main``.
    """

    def __init__(self, work: Callable[[bytes], bytes], count: int) -> None:
        self._work = work
        self._threads = ThreadPoolExecutor(count, "framepred-worker")
        self._mine = threading.local()  # of each thread: its process, and whether that is gone
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._is_closed = False

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, job: bytes) -> Future[bytes]:
        """Have a job done. One whose worker does not work is done by a thread of this process."""
        return self._threads.submit(self._do, job)

    def close(self) -> None:
        """End all processes, whatever they are at."""
        with self._lock:
            self._is_closed = True
            for process in self._processes:
                process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # what was not written yet
                        pipe.close()

    def _do(self, job: bytes) -> bytes:
        answer = None
        if not getattr(self._mine, "is_alone", False):
            try:
                process = self._find_process()
                assert process.stdin is not None
                assert process.stdout is not None
                _send(process.stdin, job)
                answer = _receive(process.stdout)
            except OSError as error:
                _log.debug("a worker cannot be used: %s", error)
        if answer is not None:
            return answer
        with self._lock:
            if self._is_closed:
                return b""  # nobody waits for it
        if not getattr(self._mine, "is_alone", False):
            _log.warning("a process that works beside this one has ended: going on without it")
            self._mine.is_alone = True
        return self._work(job)

    def _find_process(self) -> subprocess.Popen[bytes]:
        """Return this thread's process, started with its first job."""
        process: subprocess.Popen[bytes] | None = getattr(self._mine, "process", None)
        if process is None:
            here = str(Path(__file__).with_name("__init__.py"))
            code = _CODE.format(package=__package__, file=here, module=self._work.__module__)
            with self._lock:
                if self._is_closed:
                    raise OSError("closed")
                # In a session of its own (POSIX) Ctrl-C does not reach it; it ends with its input.
                process = subprocess.Popen(
                    [sys.executable, "-I", "-c", code],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
                self._processes.append(process)
            self._mine.process = process
        return process


def serve(work: Callable[[bytes], bytes]) -> None:
    """Do jobs from standard input, until there are no more."""
    while (job := _receive(sys.stdin.buffer)) is not None:
        _send(sys.stdout.buffer, work(job))


def _send(pipe: IO[bytes], content: bytes) -> None:
    pipe.write(_LENGTH.pack(len(content)) + content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes | None:
    """Read what was sent; None where the other side has ended."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    content = pipe.read(*_LENGTH.unpack(head))
    return content if len(content) == _LENGTH.unpack(head)[0] else None
