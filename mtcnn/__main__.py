"""Entry point of the `mtcnn` command and of `python -m mtcnn`: finds the commands, which are no part of the library.

In a wheel `cli.py`, `prepare` and `stages` lie below mtcnn/_app; in a checkout, installed with `pip install -e` or just
lying there, beside the library. They are imported under their own names in either place, so their folder goes to the
front of `sys.path`; worker processes inherit it. `import mtcnn` alone never does this.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import NoReturn

__all__ = ["app_folder", "end_at_once", "main"]

_INTERRUPTED = 128 + 2  # the status of a command that Ctrl-C ended
_ENDED_PIPE = 128 + 13  # the status of a command that could not write to a pipe any more


def app_folder() -> Path:
    """The folder that holds `cli.py`."""
    library = Path(__file__).resolve().parent
    packaged = library / "_app"
    return packaged if packaged.is_dir() else library.parent


def main() -> None:
    """Run the command that `sys.argv` names; ends the process with its exit status."""
    # A stream that was closed by the caller (`>&-`) is None in Python, and nobody asks before using it. In this order
    # each gets its own descriptor, which would otherwise be that of the next file that is opened.
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    warnings.formatwarning = lambda message, *_: f"mtcnn: {message}\n"  # no source line for the user of a command
    folder = str(app_folder())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        from cli import main as commands  # known only now

        commands(prog_name="mtcnn")
    except KeyboardInterrupt:  # while modules are loaded; of a command, `commands.group` says it
        print("mtcnn: interrupted; run the same command again to continue", file=sys.stderr)
        end_at_once(_INTERRUPTED)
    except SystemExit as end:
        if end.code == _ENDED_PIPE:
            _die_of_sigpipe()
        if "TORCHELASTIC_RUN_ID" in os.environ and isinstance(end.code, int):  # one of torchrun's processes
            end_at_once(end.code)
        raise


def end_at_once(status: int) -> NoReturn:
    """End this process without finalizing the interpreter; what was printed is flushed.

    For processes of a torch process group. gloo's threads outlive `destroy_process_group` once a module was wrapped in
    DistributedDataParallel, and may still have to release a tensor, for which they take the GIL. Python ends a thread
    that asks for the GIL after finalization has begun, which C++ answers with std::terminate: SIGABRT.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _die_of_sigpipe() -> None:
    """End like any filter whose reader has read enough: by the signal that Python ignores."""
    import signal

    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)


if __name__ == "__main__":
    main()
