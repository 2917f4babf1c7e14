"""A call in a process of its own, which may be killed without harm to this one."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from ..errors import MtcnnError
from ..hush import take_stderr
from .processes import end_with_parent, plain_bars, unseen_interrupts

__all__ = ["ProcessKilled", "call_alone", "sendable"]

TOGETHER = 2.0  # seconds: who kills this process too has done so by then


class ProcessKilled(MtcnnError):
    """The process of a call was killed, as by the system when memory is short."""


def call_alone(function: Callable[[], Any]) -> None:
    """Run `function`, which must pickle, in a new process.

    The process ends with this one. Raises what `function` raises; ProcessKilled if a signal ended it.
    """
    context = multiprocessing.get_context("spawn")  # not fork, see `processes.Processes`
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(function, theirs))
    error: BaseException | None = None
    try:
        with unseen_interrupts():  # one that came meanwhile is raised at its end
            process.start()
        theirs.close()
        with suppress(EOFError, OSError):  # killed before it sent anything, or all of it
            error = ours.recv()
        process.join()
    finally:
        if process.pid is not None:
            process.kill()  # where this one was interrupted, which would wait for it at its end
    if error is not None:
        raise error
    code = process.exitcode or 0
    if code < 0:
        time.sleep(TOGETHER)
        raise ProcessKilled(f"its process was killed ({signal.Signals(-code).name}); is memory short?")
    if code > 0:
        raise RuntimeError(f"the process of {function} ended with status {code}")


def _run(function: Callable[[], Any], pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, with which this process ends
    take_stderr()
    end_with_parent()
    plain_bars()
    try:
        function()
    except Exception as error:
        pipe.send(sendable(error))
    else:
        pipe.send(None)


def sendable(error: Exception) -> Exception:
    """The error, or one of the same words where it does not pickle; with the traceback if it is a bug."""
    if not isinstance(error, MtcnnError | OSError):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
