"""AdamW that touches, of a table with a sparse gradient, only the rows that the gradient names."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class SparseAdamW(torch.optim.AdamW):
    """AdamW; a table's rows without a gradient keep their values and their moments.

    Rows are decayed only in the steps that name them, and the bias correction counts all steps, as in
    `torch.optim.SparseAdam`, which has no decay.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; `closure`, if given, is called first and works out the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None and table.grad.is_sparse:
                    self._step_rows(table, table.grad.coalesce(), group)
                    table.grad = None
        super().step()
        return loss

    def _step_rows(self, table: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[table]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table), torch.zeros_like(table)
        state["step"] += 1
        rows, values = gradient.indices()[0], gradient.values()
        first, second = group["betas"]
        mean = state["exp_avg"][rows].lerp_(values, 1 - first)
        square = state["exp_avg_sq"][rows].mul_(second).addcmul_(values, values, value=1 - second)
        state["exp_avg"][rows], state["exp_avg_sq"][rows] = mean, square
        done = float(state["step"])
        size = group["lr"] / (1 - first**done)
        scale = (square / (1 - second**done)).sqrt_().add_(group["eps"])
        table[rows] = table[rows].mul_(1 - group["lr"] * group["weight_decay"]).addcdiv_(mean, scale, value=-size)


def clip_gradients(parameters: Iterable[Tensor], longest: float) -> None:
    """Shorten all gradients together to this length at most, those of sparse tables included."""
    found = []
    for parameter in parameters:
        if parameter.grad is not None:
            if parameter.grad.is_sparse:
                parameter.grad = parameter.grad.coalesce()
            found.append(parameter.grad.values() if parameter.grad.is_sparse else parameter.grad)
    share = (longest / (torch.nn.utils.get_total_norm(found) + 1e-6)).clamp(max=1.0)
    for gradient in found:
        gradient.mul_(share.to(gradient.device))
