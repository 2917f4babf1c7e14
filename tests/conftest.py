"""Shared by all tests: real photos, the data folder if there is one, one thread per process, fixed seeds."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

# Before anything loads NumPy or torch, and for the processes that tests start: the suite may share its machine, more
# threads change the last bits of float sums, and on nets this small they gain nothing.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

DATA = os.environ.get("MTCNN_DATA")

# The same examples every time, and none judged by its time: a busy machine is slow, and first calls compile.
# `--hypothesis-profile default` looks for new ones.
settings.register_profile(
    "steady", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # of a job in the background: Ctrl-C of tests must arrive
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if DATA and not (Path(DATA) / "wider").is_dir():
        raise pytest.UsageError(f"MTCNN_DATA={DATA}: no folder with wider/ in it; unset it or name the data folder")


def pytest_runtest_setup() -> None:
    """Seed torch, so that random nets, those of module fixtures too, do not depend on the order of the tests."""
    import torch

    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `data` are skipped on a bare checkout, whether or not they use `data_folder`; those of a detector
    whose package is not installed everywhere."""
    from mtcnn.detectors import DETECTORS

    for item in items:
        values = getattr(item, "callspec", None) and item.callspec.params.values()  # type: ignore[attr-defined]
        names = [value.parent.name if isinstance(value, Path) else value for value in values or ()]
        for spec in (DETECTORS[name] for name in names if isinstance(name, str) and name in DETECTORS):
            if spec.missing_package:
                item.add_marker(pytest.mark.skip(reason=f"needs {spec.package}, of the extra trunks"))
    if DATA:
        return
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(pytest.mark.skip(reason="needs MTCNN_DATA, the folder of photos and labels"))


@pytest.fixture(autouse=True)
def _no_word_of_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty kernel cache, the notice would appear in whichever test compiles first."""
    monkeypatch.setattr("mtcnn.stream.run.compiling_announced", lambda say: nullcontext())


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of photos and labels, laid out as CONTRIBUTING.md says; for tests marked `data`."""
    if not DATA:
        pytest.fail("a test that uses data_folder must be marked with @pytest.mark.data")
    return Path(DATA).resolve()


@pytest.fixture(scope="session")
def random_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with random weights: the detections are meaningless, but the nets run like trained ones.

    Offsets are small, like those of trained nets; otherwise most boxes would lie outside the image.
    """
    import torch

    from mtcnn.checkpoint import Checkpoint, weights_path, write
    from mtcnn.nets import NETS

    folder = tmp_path_factory.mktemp("random-models")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for name, net in NETS.items():
            state = net().state_dict()
            state["offsets.weight"] *= 0.05
            write(weights_path(folder, name), Checkpoint(name, state))
    return folder


@pytest.fixture(scope="session")
def photos() -> dict[str, NDArray[np.uint8]]:
    """Real photos that scikit-image ships, uint8 RGB (H, W, 3), read-only.

    `astronaut` shows one frontal face, at about (175, 65, 275, 205) of 512 x 512 pixels; `camera` (gray) a man from the
    side; `chelsea` (a cat), `coffee` and `rocket` no person.
    """
    data: Any = pytest.importorskip("skimage.data")
    found = {name: getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")}
    found["camera"] = np.repeat(data.camera()[..., None], 3, axis=2)
    for photo in found.values():
        photo.setflags(write=False)
    return found


@pytest.fixture(scope="session")
def photo_folder() -> Path:
    """The folder of scikit-image's photo files, such as astronaut.png and rocket.jpg."""
    data: Any = pytest.importorskip("skimage.data")
    return Path(data.__file__).parent
