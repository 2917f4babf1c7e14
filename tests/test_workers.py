"""Worker processes: results in order, the same as without, and an honest end when something goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import pytest
from factories import environment
from processes import PATIENCE, is_alive, wait_until

from mtcnn.engine.threads import threads
from mtcnn.errors import ImageError, MtcnnError
from mtcnn.workers import local_workers
from mtcnn.workers.alone import call_alone
from mtcnn.workers.processes import unseen_interrupts

# The work lies in this module, not in the tests, for a worker process must be able to import it.


def slow_square(number: int) -> tuple[int, int]:
    """Even numbers take longer, so that results become ready out of order."""
    time.sleep(0.02 if number % 2 == 0 else 0)
    return number, number**2


@dataclass
class Adder:
    """Work that carries something along."""

    term: int

    def __call__(self, number: int) -> tuple[int, int]:
        return number + self.term, os.getpid()


def fail_at_three(number: int) -> int:
    if number == 3:
        raise ImageError("picture 3 is upside down")
    return number


def own_threads(_: int) -> tuple[int, int]:
    import torch  # as late as the work of a worker would

    return threads(), torch.get_num_threads()


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def interrupt_itself(number: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return number


def tell_pid_and_wait(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(2 * PATIENCE)  # longer than anybody waits for its end


def begin_a_result() -> None:
    """A message to the parent, as of one that is killed while it hands over a result, with the lock that it takes."""
    frame: Any = sys._getframe()
    while "result_queue" not in frame.f_locals:
        frame = frame.f_back
    results = frame.f_locals["result_queue"]
    results._wlock.acquire()
    os.write(results._writer.fileno(), b"\0\0\xff\xff")  # of so many bytes


def hand_over_half(path: str) -> None:
    begin_a_result()
    tell_pid_and_wait(path)


def die_in_the_middle_of_a_result(number: int) -> int:
    if number == 3:
        begin_a_result()
    return die_at_three(number)


def tell_or_pass(path: str) -> None:
    if path:
        tell_pid_and_wait(path)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    """20 items are more than are in flight at a time."""
    assert list(local_workers(workers).map(slow_square, range(20))) == [(n, n**2) for n in range(20)]


def test_work_is_done_where_it_says() -> None:
    here = list(local_workers(1).map(Adder(5), range(3)))
    assert here == [(n + 5, os.getpid()) for n in range(3)]
    elsewhere = list(local_workers(2).map(Adder(5), range(12)))
    assert [value for value, _ in elsewhere] == [n + 5 for n in range(12)]
    assert os.getpid() not in {pid for _, pid in elsewhere}


def test_workers_have_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the compiled engine and of torch, even where the environment asks for more."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert set(local_workers(2).map(own_threads, range(2))) == {(1, 1)}


@pytest.mark.parametrize("workers", [1, 2])
def test_no_items(workers: int) -> None:
    assert list(local_workers(workers).map(slow_square, [])) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_items_are_taken_as_they_are_needed(workers: int) -> None:
    """However many there are, few are in memory."""
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 1000:
            taken += 1
            yield taken

    results = local_workers(workers).map(slow_square, items())
    for i in range(1, 4):
        assert next(results) == (i, i**2)
        assert taken <= i + 4 * workers
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_the_work_arrives(workers: int) -> None:
    """In its turn, after the results before it."""
    results = local_workers(workers).map(fail_at_three, range(20))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ImageError, match=r"^picture 3 is upside down$"):
        next(results)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_the_items_arrives(workers: int) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(local_workers(workers).map(slow_square, items()))


@pytest.mark.parametrize("work", [die_at_three, die_in_the_middle_of_a_result])
def test_a_killed_worker_is_reported(work: Callable[[int], int]) -> None:
    """Even if the rest of its result never comes, and no other worker gets its lock."""
    with pytest.raises(MtcnnError, match=r"a worker process died .*run the same command again") as caught:
        list(local_workers(2).map(work, range(20)))
    assert type(caught.value) is MtcnnError
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals are not masked here")
def test_workers_do_not_see_ctrl_c() -> None:
    """One that is interrupted while it hands over a result keeps the lock that the others wait for."""
    assert list(local_workers(2).map(interrupt_itself, range(20))) == [*range(20)]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


UNSEEN = """
import signal
from multiprocessing import resource_tracker
from mtcnn.workers.processes import unseen_interrupts
with unseen_interrupts():
    resource_tracker.ensure_running()
    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals are not masked here")
def test_the_first_worker_does_not_see_ctrl_c_either() -> None:
    """Python starts a process of its own before the first one, and then lets the signal through."""
    done = subprocess.run([sys.executable, "-c", UNSEEN], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals are not masked here")
def test_an_interrupt_waits_though_another_thread_takes_it() -> None:
    """The mask is that of one thread; a bar has another one, for example."""
    done, end = list[str](), threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    try:
        with pytest.raises(KeyboardInterrupt), unseen_interrupts():  # noqa: PT012
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            done.append("at the end")
    finally:
        end.set()
        other.join()
    assert done == ["at the end"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals are not masked here")
def test_a_call_alone_ends_when_its_start_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not see Ctrl-C, and Python waits for it at its end."""
    start, pids = SpawnProcess.start, list[int]()

    def interrupted(process: SpawnProcess) -> None:
        start(process)
        pids.append(process.pid or 0)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(SpawnProcess, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        call_alone(partial(tell_pid_and_wait, str(tmp_path / "pid")))
    wait_until(lambda: not is_alive(pids[0]))


@pytest.mark.parametrize("how", ["interrupted", "half", "closed"])
def test_workers_end_when_nobody_waits_for_them(tmp_path: Path, how: str) -> None:
    """At once, and not after what they are at, which may take minutes."""
    note = tmp_path / "pid"

    def items() -> Iterator[str]:
        yield str(note)
        wait_until(lambda: note.exists() and note.read_text())
        raise KeyboardInterrupt

    if how == "closed":
        found = local_workers(2).map(tell_or_pass, ["", str(note), *[""] * 9])
        next(found)
        wait_until(lambda: note.exists() and note.read_text())
        found.close()  # type: ignore[attr-defined]
    else:
        with pytest.raises(KeyboardInterrupt):
            list(local_workers(2).map(hand_over_half if how == "half" else tell_pid_and_wait, items()))
    assert not is_alive(int(note.read_text()))


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    """Or each killed run would leave processes behind that hold its memory."""
    note = tmp_path / "pid"
    program = (
        "from mtcnn.workers import local_workers; from test_workers import tell_pid_and_wait\n"
        f"list(local_workers(2).map(tell_pid_and_wait, [{str(note)!r}]))"
    )
    folders = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)])
    parent = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": folders})
    try:
        wait_until(lambda: note.exists() and note.read_text(), parent)
    finally:
        parent.kill()
        parent.wait()
    worker = int(note.read_text())
    try:
        wait_until(lambda: not is_alive(worker))
    finally:
        if is_alive(worker):
            os.kill(worker, signal.SIGKILL)
