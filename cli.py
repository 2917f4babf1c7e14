"""The root of the command line: the name of each command and where it is defined, loaded when it is used."""

from __future__ import annotations

import click

from commands.group import Group
from mtcnn import __version__

COMMANDS = {
    "detect": "commands.detect:detect",
    "data": "commands.data:data",
    "label": "commands.label:label",
    "prepare": "commands.train:prepare",
    "train": "commands.train:train",
    "run": "commands.train:run",
    "status": "commands.train:status",
    "report": "commands.report:report",
    "eval": "commands.evaluate:evaluate",
    "compare": "commands.compare:compare",
    "bench": "commands.bench:bench",
    "inspect": "commands.inspect:inspect",
    "weights": "commands.weights:weights",
    "export": "commands.export:export",
    "web": "commands.web:web",
    "flops": "commands.flops:flops",
    "search": "commands.search:search",
}
"""In the order of `mtcnn --help`, which is that of typical use."""


@click.group(
    cls=Group, modules=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option("--debug", is_flag=True, help="On an error, print the traceback too.")
@click.version_option(__version__, prog_name="mtcnn")
def main(debug: bool) -> None:
    """Face detection that you can retrain.

    \b
    mtcnn detect photo.jpg --draw drawn     find faces with the weights that ship with this project
    mtcnn run --data FOLDER                 train PNet, RNet and ONet on your own images
    mtcnn eval wider --help                 measure by the official protocols
    """


if __name__ == "__main__":
    main()
