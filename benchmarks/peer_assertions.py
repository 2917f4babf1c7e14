"""facenet-pytorch's own test of its actions, with this project's `MTCNN` in place of its own, assertion by assertion.

    python benchmarks/peer_assertions.py CHECKOUT

Runs in an environment of its own (peer_tests.py). CHECKOUT is a copy of facenet-pytorch that may be written to: the
test saves faces in it. Its lines are run as they stand but for one import, `models.mtcnn`; what is left out needs the
weights of its recognition net, which it downloads. Prints JSON: {"passed": [...], "failed": [...], "left out": [...]}.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, cast

ELSEWHERE = ("InceptionResnetV1(", "resnet_pt(", "tmptest")  # recognition, and notebooks that begin with it


class Counted(ast.NodeTransformer):
    """Assertions that are noted, and do not end the run."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        text = f"{node.lineno}: {ast.unparse(node.test)}"
        call = ast.parse(f"_note({text!r}, lambda: 0)", mode="eval").body
        assert isinstance(call, ast.Call) and isinstance(call.args[1], ast.Lambda)
        call.args[1].body = node.test
        return ast.copy_location(ast.Expr(call), node)


def torchvision_beside_any_torch() -> Any:
    """Let torchvision load where its compiled part does not: its operators, which the test does not use, are declared.

    The declarations end with the last reference to what is returned.
    """
    import torch

    library: Any = cast(Any, torch.library.Library)("torchvision", "FRAGMENT")
    declared: set[str] = set()
    while True:
        try:
            import_module("torchvision")
            return library
        except RuntimeError as error:
            missing = re.search(r"torchvision::(\w+) does not exist", str(error))
            if missing is None or missing[1] in declared:
                raise
            library.define(f"{missing[1]}(Tensor boxes) -> Tensor")
            declared.add(missing[1])
            for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
                del sys.modules[name]


def run(checkout: Path) -> dict[str, list[str]]:
    """What became of each assertion of tests/actions_test.py; a line that ends the run is one that failed."""
    found: dict[str, list[str]] = {"passed": [], "failed": [], "left out": []}

    def note(text: str, holds: Callable[[], Any]) -> None:
        try:
            found["passed" if holds() else "failed"].append(text)
        except Exception as error:
            found["failed"].append(f"{text}: {type(error).__name__}: {error}")

    source = (checkout / "tests" / "actions_test.py").read_text(encoding="utf-8")
    names = {"_note": note, "__name__": "__main__"}
    for statement in ast.parse(source).body:
        text = ast.unparse(statement)
        if any(word in text for word in ELSEWHERE):
            inside = [node for node in ast.walk(statement) if isinstance(node, ast.Assert)]
            found["left out"] += [f"{node.lineno}: {ast.unparse(node.test)}" for node in inside]
            continue
        tree = ast.fix_missing_locations(ast.Module([Counted().visit(statement)], []))
        try:
            exec(compile(tree, "actions_test.py", "exec"), names)
        except Exception as error:
            found["failed"].append(f"{statement.lineno}: {text.splitlines()[0]}: {type(error).__name__}: {error}")
    return found


def main() -> None:
    checkout = Path(sys.argv[1]).resolve()
    os.chdir(checkout)
    os.environ["TORCH_HOME"] = str(checkout / "torch_home")  # whose checkpoints the test deletes
    sys.path.insert(0, str(checkout))
    library = torchvision_beside_any_torch()
    import_module("peer_weights")
    sys.modules["models.mtcnn"] = import_module("mtcnn.compat")
    with redirect_stdout(sys.stderr):
        found = run(checkout)
    del library
    print(json.dumps(found))


if __name__ == "__main__":
    main()
