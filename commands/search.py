"""`mtcnn search`: finds the architecture of a detector under a budget of multiply-adds."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from mtcnn.detectors import DETECTORS

from .group import command, say
from .options import COUNT, DIR, FILE, NetType, options, workers_option

SEARCHED = [name for name in DETECTORS if name.startswith("scrfd")]
_FACTORS = {"k": 1e3, "m": 1e6, "g": 1e9}


class BudgetType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on
    """Multiply-adds: a number, or one with M or G behind it."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip().lower()
        factor = _FACTORS.get(text[-1:], 1.0)
        try:
            number = float(text.rstrip("kmg") if factor > 1 else text) * factor
        except ValueError:
            number = -1.0
        if not 0 < number < 1e15:
            self.fail(f"{value!r} is no number of multiply-adds; expected one such as 0.5G or 50M", param, ctx)
        return number


_plan_options = options(
    click.option("--net", type=NetType(SEARCHED), help="Whose space is searched, and whose recipe trains.  "
                 "[default: scrfd-0.5g]"),
    click.option("--budget", type=BudgetType(), help="Multiply-adds of a candidate, within 2 %, such as 0.5G or 50M.  "
                 "[default: 0.5G]"),
    click.option("--size", type=COUNT, nargs=2, metavar="HEIGHT WIDTH",
                 help="Image size for which they are counted.  [default: 480 640]"),
    click.option("--template", metavar="CANDIDATE",
                 help="Net that the candidates vary: a recipe file, or one of this folder such as trunk-07.  [default: "
                 "the recipe; for whole the winner of trunk]"),
    click.option("--candidates", "count", type=COUNT, help="How many are drawn; may be raised later.  [default: 64]"),
    click.option("--seed", type=click.IntRange(0), help="Of the draw.  [default: 0]"),
    click.option("--epochs", type=COUNT, help="Epochs of each training.  [default: 10]"),
    click.option("--steps", type=COUNT, help="Steps of an epoch.  [default: those of the recipe]"),
    click.option("--val", type=click.FloatRange(0, 50, min_open=True), metavar="PERCENT",
                 help="Share of the photos on which candidates are ranked; the others train.  [default: 10]"),
    click.option("--max-side", type=click.IntRange(32), metavar="PIXELS",
                 help="Longer side to which these are shrunk.  [default: 640]"),
    click.option("--halving/--no-halving", default=None,
                 help="Only the better half continues after a quarter of the epochs, and again after half of them.  "
                 "[default: no]"),
)  # fmt: skip


@command("search")
@click.option("--step", type=click.Choice(["trunk", "whole"]), default="trunk", show_default=True,
              help="What varies: the trunk alone, or everything, with the trunk in proportion.")  # fmt: skip
@_plan_options
@click.option("--recipe", type=FILE, help="Recipe of the trainings, copied to the folder.  [default: the one there, or "
              "the packaged one]")  # fmt: skip
@click.option("--teacher", type=FILE, help="Teacher of the candidates, for the objective distill: weights of a net "
              "with the same anchors, or its name, as retinaface, if they ship; copied to the folder.")  # fmt: skip
@click.option("--to", "work", type=DIR, default=Path("search"), show_default=True, help="Folder of the search.")
@click.option("--data", "sources", multiple=True, metavar="SOURCE",
              help="Images and labels, as for `mtcnn train`; stored in the folder.")  # fmt: skip
@click.option("--eval-hashes", type=FILE, multiple=True, help="Hashes of photos to exclude, as for `mtcnn train`.")
@workers_option("Trainings beside each other, one core each.")
@click.option("--device", metavar="NAME", default="cpu", show_default=True, help="Where to train, such as cpu or cuda.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def search(step: str, work: Path, size: tuple[int, int] | None, template: str | None, recipe: Path | None,
           teacher: Path | None, sources: tuple[str, ...], eval_hashes: tuple[Path, ...], workers: Any, device: str,
           quiet: bool, **settings: Any) -> None:  # fmt: skip
    """Search for a net under a budget of multiply-adds.

    Candidates are drawn at random from the space of SCRFD, all with the same computation; each is trained for a few
    epochs and ranked by its hard AP on the validation part of the training photos. Afterwards, FOLDER/trunk or
    FOLDER/whole has table.jsonl, table.md, table.png, and the work folder winner with the recipe of the best.

    An interrupted search resumes where it stopped. A candidate that diverges, or runs out of memory, is recorded as
    failed. `mtcnn status --work FOLDER` shows how far it is.

    \b
    mtcnn search --budget 0.5G --data FOLDER --to found
    mtcnn search --step whole --to found      vary the winner in proportion, with neck and head, at the same budget
    mtcnn train --net scrfd-0.5g --work found/whole/winner
    mtcnn search --budget 0.1G --epochs 4 --candidates 12 --data synthetic:200
    """
    from mtcnn.files.outputs import check_place
    from mtcnn.metrics.plots import check_plot
    from prepare.sources import remembered_sources
    from stages.graph.ddp import check_alone
    from stages.search.report import table, winner_folder
    from stages.search.run import NetSearch

    check_alone("mtcnn search", "--workers")
    given = {name: value for name, value in settings.items() if value is not None}
    if size is not None:
        given |= {"height": size[0], "width": size[1]}
    if not sources:
        remembered_sources(work)  # raises before anything is made
    check_place(work / step / "table.png")
    found = NetSearch(work, step, given, template, recipe, say, sources=sources, eval_hashes=eval_hashes,
                   teacher=teacher, workers=workers, device=device, quiet=quiet)  # fmt: skip
    check_plot(work / step / "table.png")
    rows = found.run()
    click.echo(table(found.plan, rows))
    say(f"winner: {rows[0].name}, hard AP {rows[0].outcome.ap:.4f} on {rows[0].outcome.photos} photos")
    winner = shlex.quote(str(winner_folder(work, step)))
    say(f"now try: mtcnn train --net {found.plan.net} --work {winner}")
