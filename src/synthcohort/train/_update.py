"""The optimiser step, the running means of the losses, and the exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import Diverged
from ..nets.generator import Generator
from ..parallel import average_gradients, mean


class Updater:
    """The only place that backpropagates and steps; collects losses without waiting for the device."""

    def __init__(self, optimisers: Mapping[str, torch.optim.Optimizer], device: torch.device, precision: str) -> None:
        self._optimisers, self._device, self._bf16 = optimisers, device, precision == "bf16"
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self.note = ""

    def __call__(self, name: str, loss: Tensor, *, lr: float | None = None) -> None:
        """Make one step of the optimiser `name`; see `types.Update`."""
        optimiser = self._optimisers[name]
        if lr is not None:
            for group in optimiser.param_groups:
                group["lr"] = lr
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self._device.type, enabled=False):
            loss.backward()
            average_gradients([parameter for group in optimiser.param_groups for parameter in group["params"]])
            optimiser.step()

    def collect(self, losses: Mapping[str, float | Tensor]) -> None:
        """Add one step's losses to the running means."""
        for name, loss in losses.items():
            value = torch.as_tensor(loss, device=self._device).detach().double()
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Return the mean losses since the last call, over all devices.

        Raises:
            Diverged: One is not finite. A weight that is not finite makes the next loss so.
        """
        means = {name: float(mean(total)) / self._counts[name] for name, total in self._sums.items()}
        bad = [name for name, value in means.items() if not np.isfinite(value)]
        if bad:
            raise Diverged(f"Training diverged: the {bad[0]} loss is {means[bad[0]]}. Lower the learning rate")
        self._sums, self._counts = {}, {}
        self.note = " ".join(f"{name} {value:.3g}" for name, value in means.items())
        return means


@torch.no_grad()
def average(modules: Mapping[str, nn.Module], averages: Mapping[str, nn.Module], *, weight: float) -> None:
    """Move each average towards its module by `weight`, 0 to 1; buffers are copied."""
    for name, module in modules.items():
        torch._foreach_lerp_(list(averages[name].parameters()), list(module.parameters()), weight)
        for kept, buffer in zip(averages[name].buffers(), module.buffers(), strict=True):
            kept.copy_(buffer)


def averaged_state(model: Generator, averages: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return the generator's state with its averaged modules in place of the raw ones."""
    state = dict(model.state_dict())
    for name, module in averages.items():
        state.update({f"{name}.{key}": value for key, value in module.state_dict().items()})
    return state


def check_finite(state: Mapping[str, Tensor]) -> None:
    """Raise unless every weight is finite; the last step is followed by no loss that would tell.

    Raises:
        Diverged: One is not.
    """
    bad = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise Diverged(f"Training diverged: {bad[0]} is not finite. Lower the learning rate")
