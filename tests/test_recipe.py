"""Recipes: an error is one line that names the file and the key; the packaged recipes load."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from factories import ROOT
from hypothesis import given
from hypothesis import strategies as st

from mtcnn.errors import RecipeError
from mtcnn.scoring import Scoring
from mtcnn.weights import SIDES, SIZES
from prepare.labels import IouBands, Kind
from prepare.mine import MineSettings
from stages.crops.recipe import Mix, Recipe, TrainSettings
from stages.objectives.distill import DistillSettings
from stages.photos.recipe import DetectorRecipe
from stages.recipes import digest, load_recipe, read_recipe

DIGESTS = [
    ("9248b9e743f11388", "3987d744ecb0cc44"),
    ("31a73b3a45095b3b", "027ef7560b052ca8"),
    ("eef3acb7001f9001", "c5e844ba6d495275"),
]


@pytest.mark.parametrize("net", SIDES)
def test_packaged_recipes_load(net: str) -> None:
    recipe = load_recipe(Recipe, ROOT, net)
    assert recipe.net == net
    assert recipe.mine is not None
    assert (recipe.draft is not None) == (net == "pnet")
    assert (recipe.train.mix.landmark > 0) == (net in ("onet", "cnet"))


def test_values_are_read(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        'net = "onet"\nseed = 3\n[bands]\nneg = 0.2\n[crops]\nlandmarks = 4\nrotation = 5\n'
        "[mine]\nthresholds = [1, 0.25]\n[train]\nlr = 1\nepochs = 7\n[train.mix]\nlandmark = 2\nneg = 6.5\n"
        "[train.score]\nbefore = 1\n"
    )
    recipe = read_recipe(Recipe, path)
    assert (recipe.net, recipe.seed, recipe.bands.neg, recipe.crops.landmarks) == ("onet", 3, 0.2, 4)
    assert recipe.mine is not None
    assert recipe.mine.thresholds == (1.0, 0.25)
    mix, score = Mix(neg=6.5, landmark=2.0), Scoring(before=1.0)
    assert recipe.train == TrainSettings(lr=1.0, epochs=7, mix=mix, score=score)
    assert type(recipe.crops.rotation) is type(recipe.train.lr) is float, "so that 1 and 1.0 are one recipe"


BAD = {
    # unknown keys
    "nets = 1": "nets is no key of a recipe; expected one of bands, crops, draft",
    "[crop]": "crop is no key",
    "[train]\nlearning_rate = 1.0": "train.learning_rate is no key of a recipe; expected one of batch, blur",
    "[train.mix]\nface = 1": "train.mix.face is no key of a recipe; expected one of landmark, neg, part, pos",
    "[mine]\nthreshold = 0.5": "mine.threshold is no key",
    # wrong types
    "seed = 1.5": "seed is 1.5; expected a whole number",
    "[train]\nepochs = 2.0": "train.epochs is 2.0; expected a whole number",
    "[train]\nepochs = true": "train.epochs is True; expected a whole number",
    "[train]\nepochs = [3]": "train.epochs is [3]; expected a whole number",
    '[train]\nlr = "fast"': "train.lr is 'fast'; expected a finite number",
    "[train]\nlr = nan": "train.lr is nan; expected a finite number",
    "[train]\nlr = inf": "train.lr is inf; expected a finite number",
    "[train]\nlr = false": "train.lr is False; expected a finite number",
    "train = 3": "train is 3; expected a table",
    "[train]\nmix = [3, 1, 1]": "train.mix is [3, 1, 1]; expected a table",
    "[crops]\nnegatives = [1, 2]": "crops.negatives is [1, 2]; expected a whole number",
    "[mine]\nthresholds = 0.5": "mine.thresholds is 0.5; expected numbers in brackets",
    '[mine]\nthresholds = ["a"]': "mine.thresholds is 'a'; expected a finite number",
    # bad values
    "seed = -1": "seed is -1; expected a whole number of at least 0",
    "[train]\nepochs = 0": "train.epochs is 0; expected a whole number of at least 1",
    "[train]\nlr = 0": "train.lr is 0.0; expected a number above 0",
    "[train]\nhard = 1.5": "train.hard is 1.5; expected a number above 0 and at most 1",
    "[train]\nhard = 0.0": "train.hard is 0.0; expected a number above 0 and at most 1",
    "[train]\nema = -0.1": "train.ema is -0.1; expected a number from 0 to 1",
    "[train]\nbox = -1": "train.box is -1.0; expected a number of at least 0",
    "[train.score]\nafter = 1": "train.score.after is no key of a recipe; expected one of before, context, detector",
    "[train.score]\ntemperature = 0": "train.score.temperature is 0.0; expected a finite number above 0",
    "[train.score]\nbefore = 1": "train.score is given; expected none: there is no stage before pnet",
    "[train]\nbatch = 2": "train.batch is 2; expected one large enough",
    "[train.mix]\nneg = 0": "train.mix.neg is 0.0; expected a number above 0",
    "[train.mix]\npart = -1": "train.mix.part is -1.0; expected a number of at least 0",
    "[train.mix]\nlandmark = 1": "train.mix.landmark is above 0; expected 0: only onet and cnet have landmarks",
    "[bands]\nneg = 0.5": "bands.neg, part, pos are 0.5, 0.4, 0.65; expected 0 < neg <= part < pos < 1",
    "[crops]\nmin_size = 0": "crops.min_size is 0.0; expected a number of at least 1",
    "[crops]\ncontext = 1.3": "crops.context is 1.3; expected 1: pnet sees its window alone",
    "[crops]\ncontext = 2.5": "crops.context is 2.5; expected a number from 1 to 2",
    "[train.score]\ncontext = 1.3": "train.score.context is given; expected none: it is that of [crops]",
    "[crops]\nval = 100": "crops.val is 100.0; expected a number of at least 0 and below 100",
    "[mine]\nthresholds = []": "mine.thresholds is []; expected numbers from 0 to 1",
    "[mine]\nthresholds = [0.5, 2]": "mine.thresholds is [0.5, 2.0]; expected numbers from 0 to 1",
    "[mine]\nmin_face_low = 20": "mine.min_face_low is 20.0; expected at most min_face_high",
    "[mine]\nscale_factor = 1.2": "mine.scale_factor is 1.2; expected a number above 0 and below 1",
    "[draft]\nepochs = 1": "draft is given; expected it for pnet alone, together with [mine]",
}


@pytest.mark.parametrize("text", BAD)
def test_one_line_names_file_and_key(tmp_path: Path, text: str) -> None:
    path = tmp_path / "models-12" / "recipe-pnet.toml"
    path.parent.mkdir()
    path.write_text(f'net = "pnet"\n{text}\n')
    with pytest.raises(RecipeError) as caught:
        load_recipe(Recipe, tmp_path, "pnet")
    message = str(caught.value)
    assert message.startswith(f"{path}: {BAD[text]}")
    assert "expected" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = 1", "net is missing; expected the name of the net"),
        ('net = "znet"', "net is znet; expected one of pnet, rnet, onet, cnet"),
        ('net = "rnet"', "net is rnet; expected pnet, as its path says"),
        ('net = "rnet"\n[mine]\n[draft]', "draft is given; expected it for pnet alone"),
        ('net = "cnet"', "mine is missing; expected it: cnet learns from what onet leaves"),
        (
            'net = "cnet"\n[mine]\n[train]\nrecall = 0.9',
            "train.recall is 0.9; expected 0: its score is a sum with onet's",
        ),
        ('net = "cnet"\n[mine]\n[train]\nthreshold = 0.5', "train.threshold is 0.5; expected none: it is that of onet"),
        ('net = "cnet"\n[mine]\njitter = -1', "mine.jitter is -1; expected a whole number from 0 to 20"),
        ('net = "onet"\n[train]\niou = -1', "train.iou is -1.0; expected a number of at least 0"),
        ('net = "onet"\n[train.mix]\nlandmark = 1', "crops.landmarks is 0; expected 1 or more, as the mix wants some"),
    ],
)
def test_the_net(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "models-12" / "recipe-pnet.toml"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(Recipe, tmp_path, "pnet")
    assert str(caught.value).startswith(f"{path}: {message}")


def test_files_that_are_not_recipes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=re.escape(f"no recipe at {tmp_path}")):
        load_recipe(Recipe, tmp_path, "pnet")
    path = tmp_path / "recipe.toml"
    for content in (b"net = ", b"\xff\xfe\x00", b"[[[["):
        path.write_bytes(content)
        with pytest.raises(RecipeError, match="is not TOML") as caught:
            read_recipe(Recipe, path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


_share, _some = st.floats(0, 10), st.floats(0.01, 10)


@given(batch=st.integers(1, 2000), neg=_some, part=_share, pos=_some, landmark=_share)
def test_mix_fills_the_batch(batch: int, neg: float, part: float, pos: float, landmark: float) -> None:
    mix = Mix(neg, part, pos, landmark)
    counts = mix.counts(batch)
    assert sum(counts.values()) == batch
    total = neg + part + pos + landmark
    for kind in (Kind.PART, Kind.POS, Kind.LANDMARK):
        assert abs(counts[kind] - batch * getattr(mix, kind.name.lower()) / total) <= 0.5 + 1e-9
    assert abs(counts[Kind.NEG] - batch * neg / total) <= 1.5 + 1e-9


def test_the_papers_mix() -> None:
    assert list(Mix(3, 1, 1, 2).counts(700).values()) == [300, 100, 100, 200]
    assert list(Mix().counts(500).values()) == [300, 100, 100, 0]


def variants(settings: Any) -> Iterator[tuple[str, Any]]:
    """Every field of a settings dataclass, those of nested ones too, with a copy in which only that field differs.

    The copies are not checked: most of the changed values are out of range. Left out is what results do not depend on.
    """
    for each in dataclasses.fields(settings):
        if not each.metadata.get("hashed", True):
            continue
        value = getattr(settings, each.name)
        if dataclasses.is_dataclass(value):
            changed = [(f"{each.name}.{name}", inner) for name, inner in variants(value)]
        else:
            changed = [(each.name, [value, "changed"])]
        for name, other in changed:
            found = copy.copy(settings)
            object.__setattr__(found, each.name, other)
            yield name, found


@pytest.mark.parametrize(
    "recipe",
    [Recipe("pnet", mine=MineSettings(), draft=TrainSettings()), DetectorRecipe("ssh", objective=DistillSettings())],
    ids=["crops", "photos"],
)
def test_the_digest_depends_on_every_setting(recipe: Any) -> None:
    changed = dict(variants(recipe))
    assert {"net", "train.lr", "train.seed"} <= changed.keys()
    digests = {name: digest(other) for name, other in changed.items()}
    assert digest(recipe) not in digests.values()
    assert len(set(digests.values())) == len(digests)
    assert digest(recipe) == digest(copy.deepcopy(recipe))
    assert digest(1, "a") != digest("a", 1)


# ---- names of version 0.1


def test_old_names_are_read_with_one_warning(tmp_path: Path) -> None:
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text('net = "pnet"\n[crops]\nheld = 9\nmost_neg = 7\nsmallest = 12\n[train]\nrate = 0.5\n')
    new.write_text('net = "pnet"\n[crops]\nval = 9\nmax_neg = 7\nmin_size = 12\n[train]\nlr = 0.5\n')
    with pytest.warns(FutureWarning) as caught:
        assert read_recipe(Recipe, old) == read_recipe(Recipe, new)
    assert [str(each.message) for each in caught] == [
        f"{old}: keys have new names: crops.held is crops.val, crops.most_neg is crops.max_neg, "
        "crops.smallest is crops.min_size, train.rate is train.lr; the old ones work until version 0.3"
    ]


def test_old_sections_of_detectors_are_read(tmp_path: Path) -> None:
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text('net = "ssh"\n[match]\npositive = 0.5\n[sample]\nleast = 3\n[train]\nbox = 1\nheld = 5\n')
    new.write_text(
        'net = "ssh"\n[objective]\nbox = 1\n[objective.match]\npositive = 0.5\n[objective.sample]\n'
        "min_negatives = 3\n[train]\nval = 5\n"
    )
    with pytest.warns(FutureWarning, match=r"train.box is objective.box, .*least is objective.sample.min_negatives"):
        recipe = read_recipe(DetectorRecipe, old)
    assert recipe == read_recipe(DetectorRecipe, new)
    assert (recipe.objective.match.positive, recipe.objective.sample.min_negatives, recipe.train.val) == (0.5, 3, 5.0)


def test_width_is_a_setting_of_the_model(tmp_path: Path) -> None:
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text('net = "ssh"\nwidth = 0.5\n')
    new.write_text('net = "ssh"\n[model]\nwidth = 0.5\n')
    with pytest.warns(FutureWarning, match="old.toml: keys have new names: width is model.width; the old ones work"):
        recipe = read_recipe(DetectorRecipe, old)
    assert recipe == read_recipe(DetectorRecipe, new)
    assert recipe.model == {"width": 0.5}


def test_unknown_objective(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('net = "ssh"\n[objective]\nname = "focal"\n')
    names = "atss, distill, distill-cells, heat-map, multibox, simota"
    with pytest.raises(RecipeError, match=f"recipe.toml: objective.name is 'focal'; expected one of {names}"):
        read_recipe(DetectorRecipe, path)


def test_renamed_settings_make_nothing_stale() -> None:
    """Digests of crops and trainings are those that version 0.1 wrote into work folders, of its recipes."""
    scores = {"rnet": Scoring(detector=1.5), "onet": Scoring(before=0.75, detector=0.75, temperature=2.0)}
    found = []
    for net in SIZES:
        recipe = load_recipe(Recipe, ROOT, net)
        bands, crops, train = recipe.bands, recipe.crops, recipe.train
        if net == "rnet":  # their recipes have changed since
            train = dataclasses.replace(train, recall=0.92)
        if net == "onet":
            bands, crops = IouBands(), dataclasses.replace(crops, context=1.0)
            train = dataclasses.replace(train, box=0.5, landmark=1.0, recall=0.77)
        score = dataclasses.replace(scores.get(net, Scoring()), detector_offsets=0.5)
        train = dataclasses.replace(train, score=score)
        found.append((digest([recipe.seed, bands, crops, True, recipe.mine]), digest(train)))
    assert found == DIGESTS


def test_an_unknown_key_of_any_length_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f'net = "ssh"\n{"9" * 5000} = 1\n')
    with pytest.raises(RecipeError, match="is no key of a recipe") as caught:
        read_recipe(DetectorRecipe, path)
    assert len(str(caught.value)) < 600
