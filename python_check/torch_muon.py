"""torch.optim.Muon for matrices and torch.optim.AdamW for all else, as one optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch


@contextmanager
def unrounded_products() -> Iterator[None]:
    """In which torch's Muon iterates in its parameters' own precision, and not in bfloat16."""
    rounded = torch.Tensor.bfloat16
    # A copy, as rounding made one: the iteration divides it in place, and it may be the momentum.
    torch.Tensor.bfloat16 = torch.Tensor.clone
    try:
        yield
    finally:
        torch.Tensor.bfloat16 = rounded


class MuonAndAdamW:
    """An optimizer of groups of one tensor each, with what a run asks of torch's optimizers."""

    def __init__(
        self,
        groups: list[dict[str, Any]],
        betas: tuple[float, float] = (0.9, 0.999),
        adamw_epsilon: float = 1e-8,
        adamw_lr_scale: float = 1.0,
        maximize: bool = False,
        bf16: bool = False,
        foreach: bool | None = None,
        **options: Any,
    ) -> None:
        """bf16: with torch's own rounding of Muon's products. foreach: AdamW's."""
        self.param_groups = [{"maximize": maximize, **options, **group} for group in groups]
        self.adamw_lr_scale, self.bf16 = adamw_lr_scale, bf16
        self.matrices, self.rest = [], []
        for group in self.param_groups:
            (self.matrices if group["params"][0].ndim == 2 else self.rest).append(group)
        self.muon = torch.optim.Muon([{"params": g["params"]} for g in self.matrices], **options)
        self.adamw = torch.optim.AdamW(
            [{"params": group["params"]} for group in self.rest],
            betas=betas,
            eps=adamw_epsilon,
            weight_decay=self.muon.defaults["weight_decay"],
            foreach=foreach,
        )

    @property
    def state(self) -> dict[torch.Tensor, dict[str, torch.Tensor]]:
        """Both optimizers' state."""
        return {**self.muon.state, **self.adamw.state}

    def step(self) -> None:
        """Takes both optimizers' steps with what the groups now say."""
        for asked, own in zip(self.matrices, self.muon.param_groups, strict=True):
            own |= {option: asked[option] for option in self.muon.defaults if option in asked}
            (parameter,) = own["params"]
            if asked["maximize"] and parameter.grad is not None:
                parameter.grad = -parameter.grad  # torch's Muon only descends
        for asked, own in zip(self.rest, self.adamw.param_groups, strict=True):
            shared = ("lr", "weight_decay", "maximize")
            own |= {option: asked[option] for option in shared if option in asked}
            own["lr"] *= self.adamw_lr_scale
        with nullcontext() if self.bf16 else unrounded_products():
            self.muon.step()
        self.adamw.step()
