"""The devices that torch can use on this machine."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from .errors import MtcnnError
from .settings import require

__all__ = ["check_device", "device_name", "devices", "plain_torch"]


def devices() -> list[str]:
    """The common device types available to torch here, "cpu" first."""
    import torch

    extra = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return ["cpu", *(name for name, is_here in extra.items() if is_here)]


def device_name(device: Any) -> str:
    """torch's name for a device: a torch.device, its name or TensorFlow's ("GPU:0", "/device:CPU:0"), None for the CPU.

    Raises SettingsError for another type or an empty name. `check_device` checks that the device exists.
    """
    kind = type(device)
    known = device is None or isinstance(device, str) or (kind.__module__, kind.__name__) == ("torch", "device")
    require(known and device != "", "device", device, "None, a torch.device or a name such as 'cpu' or 'cuda:0'")
    name = re.sub(r"^/?(device:)?", "", "cpu" if device is None else str(device).strip().lower())
    return re.sub(r"^cpu:\d+$", "cpu", re.sub(r"^gpu\b", "cuda", name))


def check_device(device: str) -> None:
    """Raises MtcnnError unless torch can compute on `device`, a name such as "cpu", "cuda" or "cuda:1"."""
    if device == "cpu":
        return  # torch takes a second to import and is not needed
    import torch

    try:
        wanted = torch.device(device)
        if wanted.type == "meta":
            raise RuntimeError("it has shapes and no values")
        if wanted.type == "cuda":  # queried, not tried: trying allocates memory on the first GPU
            count = torch.cuda.device_count()
            if (wanted.index or 0) >= count:
                raise RuntimeError(f"torch finds {count or 'no'} GPU{'' if count == 1 else 's'} here")
        else:
            torch.zeros(1, device=wanted)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # an unknown name, or a build without it
        reason = " ".join(str(error).split())[:80]
        raise MtcnnError(f"device {device!r}: {reason}; expected one of those here: {', '.join(devices())}") from error


@contextmanager
def plain_torch() -> Iterator[None]:
    """A context, or a decorator, without the default device and the autocast that a program has set for its own nets.

    Torch's default dtype is left alone, because all threads share it: nets are made float32.
    """
    torch: Any = sys.modules.get("torch")  # a program without torch has set nothing
    with ExitStack() as stack:
        if hasattr(torch, "get_default_device"):  # fully imported, not being imported by another thread
            if torch.get_default_device().type != "cpu":  # only then, because it slows each call of torch down
                stack.enter_context(torch.device("cpu"))
            for kind in filter(torch.is_autocast_enabled, ("cpu", "cuda")):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield
