"""Training in two processes gives the weights of one process, under torchrun too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from factories import RECIPES, environment, mtcnn, random_crops, write_crops, write_recipes
from processes import PATIENCE, is_alive, wait_until
from torch.multiprocessing.spawn import ProcessRaisedException, spawn

from mtcnn.__main__ import end_at_once
from mtcnn.checkpoint import read
from mtcnn.errors import MtcnnError
from mtcnn.nets import NETS
from mtcnn.types import NetOutput
from prepare.labels import Kind
from prepare.records import CropBatch
from prepare.store import CropStore
from stages.crops import task
from stages.crops.batches import CropPool
from stages.crops.loss import Targets, multitask_loss
from stages.crops.nodes import train_on_stores
from stages.crops.recipe import TrainSettings
from stages.fit import Training
from stages.graph import ddp
from stages.graph.ddp import launch

# Shares of 24 : 8 : 8, an even number of each kind, and no chance but the draws: then two processes with half a batch
# each do the arithmetic of one with the whole, in another order.
EVEN = TrainSettings(epochs=2, steps=10, batch=40, lr=2e-3, warmup=5, hard=1.0, colour=0.0, ema=0.9)


def symmetric(batch: CropBatch) -> CropBatch:
    """Crops that look the same mirrored, with boxes that are."""
    offsets = batch.offsets.copy()
    offsets[:, 2] = -offsets[:, 0]
    return replace(batch, crops=np.maximum(batch.crops, batch.crops[:, :, ::-1]), offsets=offsets)


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    kinds = [Kind.NEG] * 6 + [Kind.PART] * 2 + [Kind.POS] * 2
    batches = [symmetric(random_crops(rng, 12, kinds)) for _ in range(20)]
    return write_crops(tmp_path_factory.mktemp("crops") / "crops.lmdb", batches, val=(3, 7))


def job(crops: Path, folder: Path) -> partial[None]:
    return partial(train_on_stores, "pnet", [crops], EVEN, folder / "weights.pt", "k", quiet=True)


def test_two_processes_equal_one(crops: Path, tmp_path: Path) -> None:
    for processes in (1, 2):
        launch(job(crops, tmp_path / str(processes)), processes)
    one, two = (read(tmp_path / str(processes) / "weights.pt") for processes in (1, 2))
    torch.manual_seed(EVEN.seed)
    begun = NETS["pnet"]().state_dict()
    differs = max(float((two.tensors()[name] - value).abs().max()) for name, value in one.tensors().items())
    moved = max(float((begun[name] - value).abs().max()) for name, value in one.tensors().items())
    assert differs < 2e-4
    assert moved > 1e-2
    rows = [
        [json.loads(line) for line in (tmp_path / str(p) / "metrics-pnet.jsonl").read_text().splitlines()]
        for p in (1, 2)
    ]
    assert [row["epoch"] for row in rows[1]] == [0, 1], "written by one of the two"
    assert rows[1][-1]["val_total"] == pytest.approx(rows[0][-1]["val_total"], abs=1e-3)


def train_and_tell(rank: int, crops: str, folder: str) -> None:
    """One of two processes; notes its weights at the end of each epoch in <folder>/<rank>-<epoch>.pt."""
    torch.set_num_threads(1)
    meeting = dist.FileStore(f"{folder}/meeting", 2)  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=meeting, rank=rank, world_size=2)
    validate = task.CropTask.validate

    def noting(self: task.CropTask, run: Training) -> dict[str, float]:
        torch.save({**run.module.state_dict(), **{f"average.{k}": v for k, v in run.average.items()}},
                   f"{folder}/{rank}-{run.epoch}.pt")  # fmt: skip
        return validate(self, run)

    task.CropTask.validate = noting  # type: ignore[assignment,method-assign]
    # Colours and mirroring differ between the processes here, and yet they may not drift apart.
    settings = replace(EVEN, colour=0.3, hard=0.7)
    task.train("pnet", CropPool([CropStore(Path(crops))]), settings, Path(folder, "w.pt"), "k", quiet=True)
    end_at_once(0)


def test_both_processes_hold_the_same_weights(crops: Path, tmp_path: Path) -> None:
    spawn(train_and_tell, (str(crops), str(tmp_path)), nprocs=2)  # type: ignore[no-untyped-call]
    for epoch in (1, 2):
        first, second = (torch.load(tmp_path / f"{rank}-{epoch}.pt", weights_only=True) for rank in (0, 1))
        assert len(first) > 10
        assert all(torch.equal(value, second[name]) for name, value in first.items())


def leave_gloo_busy() -> None:
    """Wait for all-reduces whose tensors gloo's threads cannot release yet: they need the GIL, which is kept here."""
    sys.setswitchinterval(0.5)
    net = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 4))
    net(torch.ones(1, 4)).sum().backward()
    for work in [dist.all_reduce(torch.ones(1000), async_op=True) for _ in range(8)]:
        work.wait()


def test_processes_end_without_abort() -> None:
    """Finalizing the interpreter while gloo still releases tensors aborted about four of five such processes."""
    launch(leave_gloo_busy, 3)


def test_torchrun_on_the_real_command(tmp_path: Path) -> None:
    """Crops made by the first process, trained by both, from an empty work folder; the same as with --processes 2."""
    command = ["-m", "mtcnn", "train", "--net", "12", "--data", "synthetic:10", "--workers", "1", "--quiet", "--work"]
    runner = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name in ("torchrun", "spawned"):
        write_recipes(
            tmp_path / name, {12: (RECIPES[12][RECIPES[12].index("[mine]") : RECIPES[12].index("[train]")], "")}
        )
    done = subprocess.run(
        [*runner, *command, "torchrun"], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = [line.split(":")[0] for line in done.stderr.splitlines() if ": making " in line]
    assert made == ["crops-12", "pnet"], "each by one of the two"
    other = mtcnn(*command[2:], "spawned", "--processes", 2, folder=tmp_path)
    assert other.returncode == 0, other.stderr
    one, two = (read(tmp_path / name / "models-12" / "weights-pnet.safetensors") for name in ("torchrun", "spawned"))
    assert one.recipe_hash == two.recipe_hash
    assert all(torch.equal(value, two.tensors()[name]) for name, value in one.tensors().items())
    again = subprocess.run(
        [*runner, *command, "torchrun"], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert ": making " not in again.stderr
    assert "(was fresh)" in again.stdout


def train_for_ever(folder: str) -> None:
    """Notes the number of its process, then waits."""
    Path(folder, f"pid-{os.getpid()}").touch()
    time.sleep(600)


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_training_processes_end_with_a_killed_parent(tmp_path: Path) -> None:
    """Even if SIGINT, which torch sends them, is ignored, as by all background processes of a shell script."""
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from functools import partial; from stages.graph.ddp import launch; from test_ddp import train_for_ever\n"
        f"if __name__ == '__main__': launch(partial(train_for_ever, {str(tmp_path)!r}), 2)"
    )
    (tmp_path / "program.py").write_text(program)
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent)])
    parent = subprocess.Popen([sys.executable, tmp_path / "program.py"], env={**os.environ, "PYTHONPATH": path})
    try:
        wait_until(lambda: len(list(tmp_path.glob("pid-*"))) == 2, parent)
    finally:
        parent.kill()
        parent.wait()
    pids = [int(note.name.removeprefix("pid-")) for note in tmp_path.glob("pid-*")]
    try:
        wait_until(lambda: not any(map(is_alive, pids)))
    finally:
        for pid in filter(is_alive, pids):
            os.kill(pid, signal.SIGKILL)


def interrupt_itself(folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    (folder / str(dist.get_rank())).touch()


def die_as_second() -> None:
    if dist.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.barrier()


def fail() -> None:
    raise KeyError("a bug")


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals are not masked here")
def test_training_processes_do_not_see_ctrl_c(tmp_path: Path) -> None:
    """One that is interrupted while it imports torch would leave the others waiting for it."""
    launch(partial(interrupt_itself, tmp_path), 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals are not masked here")
def test_training_processes_end_when_their_start_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    pids = list[int]()

    def interrupted(*given: Any, **named: Any) -> Any:
        started = spawn(*given, **named)  # type: ignore[no-untyped-call]
        pids.extend(started.pids())
        os.kill(os.getpid(), signal.SIGINT)
        return started

    monkeypatch.setattr(ddp, "spawn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launch(partial(time.sleep, PATIENCE), 2)
    assert len(pids) == 2
    assert not any(map(is_alive, pids))


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_a_killed_training_process_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """And nothing of what torch says of it: neither its traceback nor the failures of the others, nor the files in
    which these are noted."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(MtcnnError, match=r"a training process was killed, .*; run the same command again") as caught:
        launch(die_as_second, 2)
    assert "\n" not in str(caught.value)
    assert "Terminating process" not in capfd.readouterr().err
    with pytest.raises(ProcessRaisedException, match="KeyError: 'a bug'"):
        launch(fail, 2)
    assert list(tmp_path.iterdir()) == []


def part_of(rank: int, folder: str) -> None:
    """Losses of one of two processes, which have different shares of the kinds, in <folder>/<rank>.pt."""
    meeting = dist.FileStore(f"{folder}/meeting", 2)  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=meeting, rank=rank, world_size=2)
    torch.save(multitask_loss(*halves()[rank], EVEN), f"{folder}/{rank}.pt")
    end_at_once(0)


def halves() -> list[tuple[NetOutput, Targets]]:
    """Outputs and targets of 12 crops in two unequal halves."""
    made = torch.Generator().manual_seed(1)
    kinds = torch.tensor([int(kind) for kind in [Kind.NEG] * 5 + [Kind.POS] + [Kind.PART] * 2 + [Kind.POS] * 4])
    logits, offsets, wanted = (torch.randn(shape, generator=made) for shape in ((12,), (12, 4), (12, 4)))
    targets = Targets(kinds.to(torch.uint8), wanted, torch.zeros(12, 5, 2), torch.ones(12))
    output = NetOutput(logits, offsets, None)
    return [
        (NetOutput(output.face_logits[part], output.offsets[part], None), Targets(*(each[part] for each in targets)))
        for part in (slice(0, 6), slice(6, 12), slice(0, 12))
    ]


def test_losses_are_normalised_over_all_processes(tmp_path: Path) -> None:
    """Their mean, which is what averaged gradients are of, is the loss of one process with all crops."""
    spawn(part_of, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    whole = multitask_loss(*halves()[2], EVEN)
    for name, value in whole.items():
        assert float(parts[0][name] + parts[1][name]) / 2 == pytest.approx(float(value), rel=1e-5), name


def test_a_training_leaves_the_number_of_threads() -> None:
    before, within = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        launch(lambda: within.append(torch.get_num_threads()), 1)
        assert (within, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)
