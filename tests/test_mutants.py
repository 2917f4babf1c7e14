"""The changes that `make mutants` makes: each is one, compiles, and comes out the same every time."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "benchmarks"))

from mutants import TARGETS  # noqa: E402
from mutations import mutated, mutations  # noqa: E402

SOURCE = '''"""A module."""

from __future__ import annotations

__all__ = ["mean"]

_ENOUGH = 2


def mean(values: list[float], least: int = 1) -> float | None:
    """Of enough values."""
    if len(values) < least or not values:
        return None
    total = 0.0
    for value in values:
        total += value
    return divide(total, len(values) - _ENOUGH)
'''


def changes() -> list[str]:
    return [str(mutated(SOURCE, number)[0]) for number in range(len(mutations(SOURCE)))]


def test_what_is_changed() -> None:
    found = changes()
    for wanted in (
        "_ENOUGH = 2  ->  _ENOUGH = 3",
        "def mean(values: list[float], least: int=1) -> float | None:  ->  "
        "def mean(values: list[float], least: int=2) -> float | None:",
        "if len(values) < least or not values:  ->  if len(values) <= least or not values:",
        "if len(values) < least or not values:  ->  if len(values) < least and (not values):",
        "if len(values) < least or not values:  ->  if not (len(values) < least or not values):",
        "total += value  ->  pass",
        "return divide(total, len(values) - _ENOUGH)  ->  return None",
        "return divide(total, len(values) - _ENOUGH)  ->  return divide(len(values) - _ENOUGH, total)",
        "return divide(total, len(values) - _ENOUGH)  ->  return divide(total, len(values) + _ENOUGH)",
    ):
        assert wanted in found
    assert not [change for change in found if "mean" in change.split("  ->  ")[0] and "least" not in change]
    assert found == changes() and len(set(found)) == len(found)


def test_the_lines_that_a_change_concerns() -> None:
    lines = {str(change): change.lines for change, _ in (mutated(SOURCE, n) for n in range(len(mutations(SOURCE))))}
    assert lines["_ENOUGH = 2  ->  _ENOUGH = 3"] == [17]
    assert lines["total += value  ->  pass"] == [16]
    assert lines["if len(values) < least or not values:  ->  if len(values) < least and (not values):"] == [12]


@pytest.mark.parametrize("module", ["mtcnn/nms.py", "mtcnn/files/atomic_write.py", "prepare/labels.py"])
def test_changes_of_a_real_module(module: str) -> None:
    source = (ROOT / module).read_text()
    plain = ast.unparse(ast.parse(source))
    for number in range(len(mutations(source))):
        change, text = mutated(source, number)
        compile(text, module, "exec")
        assert text != plain and change.before != change.after


def test_targets_exist() -> None:
    for module, tests in TARGETS.items():
        assert (ROOT / module).is_file()
        assert all((ROOT / "tests" / f"test_{name}.py").is_file() for name in tests.split())
