"""Where the `mtcnn` command starts: outside the package `mtcnn`, whose files another project's may have replaced."""

from __future__ import annotations

import sys
import warnings
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

__all__ = ["main"]


def _installed(folder: Path) -> ModuleType:
    """mtcnn/installed.py, loaded without the package around it."""
    spec = spec_from_file_location("_mtcnn_installed", folder / "installed.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Run the command that `sys.argv` names, unless there is nothing left to run."""
    spec = find_spec("mtcnn")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    folder = next((Path(name) for name in folders if Path(name, "installed.py").is_file()), None)
    if folder is None:
        where = f" in {folders[0]}" if folders else ""
        sys.exit(f"mtcnn: the package mtcnn of another project{where} hides mtcnn-cascade; run: pip uninstall mtcnn")
    installed = _installed(folder)
    fault = installed.fault(str(folder))
    if fault == installed.OVERWRITTEN:
        sys.exit(f"mtcnn: {fault}")
    if fault is not None:
        warnings.filterwarnings("ignore", "the package mtcnn of another project")  # which `import mtcnn` gives
        print(f"mtcnn: {fault}", file=sys.stderr)
    from mtcnn.__main__ import main as run

    run()
