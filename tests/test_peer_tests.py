"""The runner of the peers' own tests, on tests written here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "benchmarks"))

import compare_peers  # noqa: E402
import peer_assertions  # noqa: E402
import peer_tests  # noqa: E402
from peer_tests import OURS, THEIRS, Outcome  # noqa: E402

ACTIONS = """
import sys
values = [1, 2]
for value in values:
    assert value < 2
    assert undefined
for dataset in ["a"]:
    resnet = InceptionResnetV1(pretrained=dataset)
    assert resnet
assert len(values) == 2, "said"
raise RuntimeError("the end of a line")
assert values
"""


def test_each_assertion_is_recorded(tmp_path: Path) -> None:
    """Neither a failed assertion nor an exception stops the run."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "actions_test.py").write_text(ACTIONS)
    found = peer_assertions.run(tmp_path)
    assert found["passed"] == ["5: value < 2", "10: len(values) == 2", "12: values"]
    assert found["left out"] == ["9: resnet"]
    assert found["failed"] == [
        "6: undefined: NameError: name 'undefined' is not defined",
        "5: value < 2",
        "6: undefined: NameError: name 'undefined' is not defined",
        "11: raise RuntimeError('the end of a line'): RuntimeError: the end of a line",
    ]


def checkout(folder: Path, test: str) -> Path:
    """The files by which a checkout of ipazc's mtcnn is recognised, with a test of our own."""
    (folder / "tests").mkdir(parents=True)
    (folder / "tests" / "test_mtcnn.py").write_text(test)
    return folder


TEST = """
import pytest
from mtcnn.mtcnn import MTCNN

def test_class():
    assert MTCNN.__name__ == "MTCNN"

@pytest.mark.parametrize("x", [1, 2])
def test_values(x):
    assert x == 1
"""


def test_tests_run_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peer_tests, "python_of", lambda name: Path(sys.executable))
    monkeypatch.setattr(peer_tests, "THEIRS", OURS)  # whose weights are not at hand
    folder = checkout(tmp_path / "peer", TEST)
    (first, _) = peer_tests.run_tests([folder])
    assert first == Outcome("ipazc's mtcnn", OURS, ["test_class", "test_values[1]"], ["test_values[2]"], ())
    assert list(folder.rglob("*.xml")) == []  # a copy was used
    with pytest.raises(SystemExit, match=r"failed:\ntest_values\[2\]"):
        compare_peers.tell_tests([folder])
    assert "2 of 3" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"has none of tests/actions_test\.py, tests/test_mtcnn\.py"):
        peer_tests.run_tests([tmp_path])


def test_only_failures_with_our_weights_are_excused() -> None:
    name = next(iter(peer_tests.REFUSED))
    ours, theirs = (Outcome("p", weights, ["a"], [name, "b"], ["c"]) for weights in (OURS, THEIRS))
    assert ours.unexplained() == ["b"] and ours.row() == ["p", OURS, "1 of 3", "1", "1"]
    assert theirs.unexplained() == [name, "b"] and theirs.row() == ["p", THEIRS, "1 of 3", "0", "1"]
