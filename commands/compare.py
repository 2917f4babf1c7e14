"""`mtcnn compare`: one table for many detectors."""

from __future__ import annotations

from pathlib import Path

import click

from mtcnn.workers import Workers

from .group import command, say
from .options import DIR, FILE, PATH, workers_option


@command("compare")
@click.argument("names", nargs=-1, metavar="[NAME|FOLDER/NAME|FILE.onnx|all]...")
@click.option("--photos", type=DIR, required=True, help="Folder with <event>/<image>.jpg.")
@click.option("--ground-truth", type=PATH, required=True, help="Folder of the official .mat files, or a bbx_gt.txt.")
@click.option("--labels", type=FILE, help="Only the images that this list or bbx_gt.txt names.")
@click.option(
    "--models",
    type=DIR,
    multiple=True,
    help="Folder of imported or trained weights; may be repeated. The packaged weights come last.",
)
@click.option(
    "--sizes",
    default="original",
    show_default=True,
    metavar="SIZE[,SIZE...]",
    help="Sizes to detect at: original, vga, or pixels of the longest side.",
)
@click.option(
    "--refine",
    type=click.Choice(["none", "rnet", "rnet,onet"]),
    default="none",
    show_default=True,
    help="Also measure each single-stage detector followed by these nets.",
)
@click.option("--out", type=PATH, default="compare", show_default=True, help="Folder of the results.")
@click.option("--timing/--no-timing", default=True, show_default=True, help="Measure time and memory too.")
@workers_option("Processes that detect.")
def compare(names: tuple[str, ...], photos: Path, ground_truth: Path, labels: Path | None, models: tuple[Path, ...],
            sizes: str, refine: str, out: Path, timing: bool, workers: Workers) -> None:  # fmt: skip
    """Compare detectors in one table: cost, AP, time.

    NAMEs are mtcnn, the cascade; mtcnn-recall, the cascade with settings that find more; and single-stage detectors,
    also as retinaface+rnet+onet. The default is all of them; those without weights are listed as such. FOLDER/NAME
    takes the weights from that folder of models, to compare two weights of a net.

    FILE.onnx is a net or a whole detector that mtcnn export wrote, or a file of InsightFace's SCRFD or of YuNet. The
    score from which a whole detector reports faces is a part of its file, unless it was exported with
    --settings-as-inputs: a high one costs AP, and is in its row.

    OUT receives table.md, table.json, table.png with AP over time, and photos.jpg with the photos on which the
    detectors differ most. Detections are cached there: an interrupted run resumes, and a repeated one only measures
    what has changed.

    \b
    mtcnn compare --photos dev/images --labels dev_bbx_gt.txt --ground-truth ground_truth
    mtcnn compare mtcnn retinaface yunet-n --models imported --sizes 640,original --photos images --ground-truth gt
    mtcnn compare work/retinaface retinaface scrfd_2.5g.onnx --photos images --ground-truth gt
    """
    from mtcnn.compare import choose
    from mtcnn.compare import compare as run
    from mtcnn.compare.outputs import tables
    from mtcnn.metrics.plots import check_plot
    from mtcnn.metrics.problems import Problems

    entries = choose(names or ("all",), models, [size.strip() for size in sizes.split(",")], refine)
    out.mkdir(parents=True, exist_ok=True)
    if timing:
        check_plot(out / "table.png")
    problems = Problems()
    rows = run(entries, photos, ground_truth, out, workers, labels, timing, problems, say)
    for line in problems.summary(20).splitlines():
        say(line)
    click.echo(tables(rows))
    say(f"mtcnn: {sum(row.result is not None for row in rows)} of {len(rows)} detectors measured; see {out}")
