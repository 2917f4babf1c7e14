"""`mtcnn weights list`: its figures are those of docs/results.md, its files those that are imported."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from factories import ROOT
from run_command import run
from test_second_pass import models_with_own

from mtcnn.checkpoint import packaged_weights
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.trunks import TRUNKS
from mtcnn.published import _PACKAGED, Published, packaged, published

RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def cells(line: str) -> list[str]:
    return [cell.strip(" `°*") for cell in line.split("|")[1:-1]]


def figures(text: str) -> tuple[float, ...]:
    """The numbers between 0 and 1 of a text, with or without a leading 0."""
    return tuple(float(value) for value in re.findall(r"(?<![\d.])0?\.\d{3,4}\b", text))


def test_every_row_is_a_net_of_this_project() -> None:
    nets = {row.net for row in published()}
    assert nets <= {"mtcnn", *DETECTORS, *TRUNKS}
    assert set(TRUNKS) <= nets
    assert len({(row.net, row.files, row.project) for row in published()}) == len(published())


def test_packaged_are_the_weights_that_ship() -> None:
    rows = {row.net: row for row in packaged()}
    assert rows["mtcnn"].size == sum((packaged_weights() / file).stat().st_size for file in rows["mtcnn"].files)
    assert all((packaged_weights() / file).is_file() for row in rows.values() for file in row.files)
    found = packaged_weights().glob("models-?[248]/*.safetensors")
    cascade = {path.relative_to(packaged_weights()).as_posix() for path in found}
    assert cascade == {*rows["mtcnn"].files}
    shipped = {path.parent.name for path in (packaged_weights() / "models-full").glob("*/weights.safetensors")}
    assert shipped == rows.keys() - {"mtcnn"}


def test_a_net_of_the_second_pass_would_be_listed(
    random_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = models_with_own(random_models, tmp_path / "models")
    monkeypatch.setattr("mtcnn.published.packaged_weights", lambda: models)
    monkeypatch.setattr("mtcnn.published._PACKAGED", _PACKAGED[:1])
    (row,) = packaged()
    assert row.files[-1] == "models-48/weights-cnet.safetensors" and len(row.files) == 4
    assert row.size == sum((models / file).stat().st_size for file in row.files)


def test_weights_that_ship_name_no_file_of_the_machine_that_made_them() -> None:
    for row in packaged():
        for file in row.files:
            content = (packaged_weights() / file).read_bytes()
            length = int.from_bytes(content[:8], "little")  # of the header, as the format of safetensors begins
            assert not re.search(r"/\w+/|\\\\\w+\\\\", content[8 : 8 + length].decode()), file


@pytest.mark.parametrize("row", [row for row in [*packaged(), *published()] if row.ap], ids=lambda row: row.files[0])
def test_ap_is_in_the_results(row: Published) -> None:
    """In a line of results.md that names the net, or its file, or the packaged weights."""
    names = {row.net, *row.files, *(Path(file).stem for file in row.files), "its teacher"}
    lines = [line for line in RESULTS.splitlines() if line.startswith("|") and any(name in line for name in names)]
    assert row.ap in {figures(line)[-3:] for line in lines}


def test_milliseconds_are_in_the_results() -> None:
    for row in (row for row in [*packaged(), *published()] if row.ms is not None):
        names = (row.net, f"packaged {row.net}", f"published/{row.net}")
        lines = [line for line in RESULTS.splitlines() if line.startswith("|") and cells(line)[0] in names]
        assert any(f"{row.ms:.1f}" in cells(line) for line in lines), row


def test_files_are_those_of_the_documentation() -> None:
    """Each file of a detector or trunk stands in the table of docs/detectors.md, and each of that table in the list."""
    text = (ROOT / "docs" / "detectors.md").read_text(encoding="utf-8").partition("## Published weights")[2]
    table = [line for line in text.partition("A trunk is")[0].splitlines() if line.startswith("| ")]
    for row in (row for row in published() if row.net != "mtcnn"):
        short = row.net.split("-")[0] if row.net.startswith("scrfd") else row.net
        name = row.files[0].split(" of ")[-1]
        start = re.split(r"[\d_-]", name)[0]
        assert any(start in line or short in line for line in table), row


def test_the_command_prints_all_and_its_json_is_complete() -> None:
    done = run("weights", "list")
    assert done.exit_code == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(lines) == 2 * 2 + len(packaged()) + len(published())
    assert [rule.endswith(":") for rule in lines[1].strip("| ").split(" | ")] == [False] * 3 + [True, False] + [
        True
    ] * 4
    (yunet,) = [cells(line) for line in lines if "yunet_n.pth" in line]
    assert yunet[:8] == ["yunet-n", "yunet_n.pth", "ShiqiYu/libfacedetection.train", "0.75", "Apache-2.0",
                         "0.9104", "0.8832", "0.8277"]  # fmt: skip
    assert "http" not in done.stdout
    rows = [json.loads(line) for line in run("weights", "list", "--json").stdout.splitlines()]
    assert len(rows) == len(packaged()) + len(published())
    assert {row["weights"] for row in rows} == {"packaged", "import"}
    assert next(row["ap"] for row in rows if row["net"] == "retinaface") == [0.922, 0.8857, 0.7777]
