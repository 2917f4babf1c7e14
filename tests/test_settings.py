"""Settings with declared ranges: a value out of range is reported on construction, in one line."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

from commands.group import command
from mtcnn.errors import MtcnnError, SettingsError
from mtcnn.settings import Range, Settings, setting


@dataclass(frozen=True)
class Example(Settings):
    epochs: int = setting(60, min=1)
    lr: float = setting(2e-3, above=0)
    share: float = setting(0.5, min=0, max=1)
    factor: float = setting(0.7, above=0, below=1)
    mode: str = setting("cosine", choices=("cosine", "constant"))
    free: float = 0.0


def test_values_in_range_are_accepted() -> None:
    assert Example(1, 1e-9, 0.0, 0.5, "constant", math.nan).epochs == 1
    assert Example(share=1).share == 1
    assert Example(epochs=np.int64(3), lr=np.float32(0.5)).epochs == 3  # type: ignore[arg-type]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "below": ({"epochs": 0}, "epochs is 0; expected a whole number of at least 1"),
    "fraction": ({"epochs": 1.5}, "epochs is 1.5; expected a whole number of at least 1"),
    "text": ({"epochs": "20"}, "epochs is '20'; expected a whole number of at least 1"),
    "bool": ({"epochs": True}, "epochs is True; expected a whole number of at least 1"),
    "none": ({"lr": None}, "lr is None; expected a number above 0"),
    "edge": ({"lr": 0.0}, "lr is 0.0; expected a number above 0"),
    "infinite": ({"lr": math.inf}, "lr is inf; expected a number above 0"),
    "beyond": ({"epochs": 10**400}, f"epochs is 1{'0' * 76}...; expected a whole number of at least 1"),
    "nan": ({"share": math.nan}, "share is nan; expected a number from 0 to 1"),
    "above": ({"share": 1.01}, "share is 1.01; expected a number from 0 to 1"),
    "open": ({"factor": 1.0}, "factor is 1.0; expected a number above 0 and below 1"),
    "choice": ({"mode": "linear"}, "mode is 'linear'; expected one of cosine, constant"),
    "long": ({"mode": "x" * 500}, f"mode is '{'x' * 76}...; expected one of cosine, constant"),
}


@pytest.mark.parametrize(("values", "message"), WRONG.values(), ids=WRONG)
def test_values_out_of_range_are_errors(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Example(**values)
    assert str(caught.value) == message
    assert isinstance(caught.value, MtcnnError) and isinstance(caught.value, ValueError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == message


def test_an_unbounded_range_needs_a_finite_number() -> None:
    assert Range().holds(-3.5) and not Range().holds(math.inf)
    assert str(Range()) == "a finite number"


@click.group()
def group() -> None:
    pass


@command("wrong", group)
def wrong() -> None:
    Example(epochs=0)


@command("broken", group)
def broken() -> None:
    np.zeros(3) + np.zeros(4)


def test_only_a_settings_error_is_a_usage_error() -> None:
    done = CliRunner().invoke(group, ["wrong"])
    assert done.exit_code == 2 and "epochs is 0; expected" in done.output
    bug = CliRunner().invoke(group, ["broken"])
    assert type(bug.exception) is ValueError, "a bug keeps its traceback"
    assert "Usage" not in bug.output
