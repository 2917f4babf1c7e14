"""What all trainings share: the state that a checkpoint holds, the learning rate, and one step of the optimiser."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mtcnn.checkpoint import save_whole
from mtcnn.errors import TrainingError

__all__ = ["Schedule", "Training", "learning_rate", "world"]


class Schedule(Protocol):
    """The settings that a training needs whatever it trains; see recipe.TrainSettings for what they mean."""

    @property
    def epochs(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def rate(self) -> float: ...
    @property
    def warmup(self) -> int: ...
    @property
    def ema(self) -> float: ...
    @property
    def mixed(self) -> bool: ...


def world() -> tuple[int, int]:
    """Number of this process and how many train together."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def _processor_has_bfloat16() -> bool:
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # which of them exist depends on torch's version
    return any(getattr(torch.cpu, name, bool)() for name in names)


def learning_rate(step: int, settings: Schedule) -> float:
    """Linear warm-up, then a cosine from `rate` to 1 % of it (Loshchilov and Hutter 2017, equation 5)."""
    whole = settings.epochs * settings.steps
    if step < settings.warmup:
        return settings.rate * (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(whole - settings.warmup, 1)
    return settings.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


S = TypeVar("S", bound=Schedule)


class Training(Generic[S]):
    """A net in training.

    net      its name.    name    of the run, for messages.    module  the net, which is moved to `device`.
    groups   parameters for AdamW, with what it should do to them.
    average  the moving average of the weights, which is judged and kept; `best_state` is the best one so far, of merit
             `best`.
    """

    def __init__(
        self, net: str, name: str, module: nn.Module, groups: Iterable[dict[str, Any]], settings: S, device: str
    ) -> None:
        self.net, self.name, self.settings, self.device = net, name, settings, device
        self.module = module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {key: value.detach().clone() for key, value in self.module.state_dict().items()}
        self.optimizer = torch.optim.AdamW(groups, lr=settings.rate)
        self.epoch, self.best, self.best_state = 0, -math.inf, self.average

    def parallel(self) -> nn.Module:
        """The net to call in training. With several processes, gradients are averaged over them after each backward
        pass; without others it is the net itself."""
        return nn.parallel.DistributedDataParallel(self.module) if world()[1] > 1 else self.module

    def precision(self) -> AbstractContextManager[None]:
        """The arithmetic of a step's forward pass: within it convolutions run in bfloat16 where `mixed` is set and the
        device multiplies in it. On processors that do not, torch would imitate it, slower than float32."""
        kind = torch.device(self.device).type
        helps = kind != "cpu" or _processor_has_bfloat16()
        return torch.autocast(kind, torch.bfloat16, enabled=self.settings.mixed and helps)

    def save(self, path: Path, key: str) -> None:
        """Write the checkpoint, so that a kill leaves the old one or the new one."""
        state = {
            "key": key,
            "epoch": self.epoch,
            "best": self.best,
            "best_state": self.best_state,
            "module": self.module.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        save_whole(state, path)

    def restore(self, path: Path, key: str) -> None:
        """Go on from the checkpoint at `path`, if it is there, whole, and of the same recipe."""
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except Exception:  # absent, or not a checkpoint: then the training starts anew
            return
        if not isinstance(state, dict) or state.get("key") != key:
            return
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average, self.best_state = state["average"], state["best_state"]
        self.epoch, self.best = state["epoch"], state["best"]

    def advance(self, loss: Tensor, step: int, clip: float = math.inf) -> None:
        """One step down the gradient of `loss`, whose norm is cut to `clip`.

        Raises TrainingError for a loss that is not finite.
        """
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss of {self.name} is {value} at step {step}; expected a finite number: "
                "lower rate in its section of the recipe and run the same command again, which trains it from the start"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.settings)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if clip < math.inf:
            nn.utils.clip_grad_norm_(self.module.parameters(), clip)
        self.optimizer.step()
        self._follow(step)

    def _follow(self, step: int) -> None:
        """Move the average towards the weights; at first faster, so that the start is forgotten."""
        decay = min(self.settings.ema, (1 + step) / (10 + step))
        for name, value in self.module.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)  # batch norm's count of batches

    def keep_best(self, merit: float) -> None:
        """Remember the average where `merit` is above all before."""
        if merit > self.best:
            self.best, self.best_state = merit, {name: value.clone() for name, value in self.average.items()}
