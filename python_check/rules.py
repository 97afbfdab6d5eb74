"""Rules by torch.optim's names, and their formulas over bounded arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import gramstep_c
from bounded import Bounded, maximum, sqrt, where

# torch.optim's name of an option, where the C ABI has another.
C_NAMES = {"eps": "epsilon"}


@dataclass(frozen=True)
class Rule:
    """A rule with options as torch.optim's constructors take them."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        values = [f"{key}={value}".replace(" ", "") for key, value in self.options.items()]
        return "-".join([self.name, *values])

    def torch_class(self) -> type[torch.optim.Optimizer]:
        """The class of that name in torch.optim."""
        return getattr(torch.optim, self.name)

    def c_rule(self) -> gramstep_c.Rule:
        """The rule of that name in the C ABI."""
        return gramstep_c.Rule[self.name]

    def c_options(self) -> dict[str, Any]:
        """The options by the C ABI's names."""
        renamed = {C_NAMES.get(key, key): value for key, value in self.options.items()}
        if betas := renamed.pop("betas", None):
            renamed["beta1"], renamed["beta2"] = betas
        return renamed

    def state_names(self) -> list[str]:
        """The names of the state that these options keep."""
        if self.name == "SGD":
            return ["momentum_buffer"] if self["momentum"] else []
        return ["exp_avg", "exp_avg_sq"] + (["max_exp_avg_sq"] if self["amsgrad"] else [])

    def __getitem__(self, option: str) -> Any:
        return self.options.get(option, self.torch_defaults()[option])

    def torch_defaults(self) -> dict[str, Any]:
        """What torch.optim takes for an option that is left out."""
        return self.torch_class()([torch.zeros(1)]).defaults


@dataclass
class StepNumbers:
    """What a rule is told of one step, element by element, in float64."""

    lr: np.ndarray
    weight_decay: np.ndarray
    t: np.ndarray  # which step of the element's tensor it is, 1 for the first


def bounded_step(
    rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: dict[str, Bounded]
) -> tuple[Bounded, dict[str, Bounded]]:
    """The new parameters and state; g is the gradient to descend along."""
    step = sgd_step if rule.name == "SGD" else adam_step
    return step(rule, numbers, g, p, state)


def add_l2(numbers: StepNumbers, g: Bounded, p: Bounded) -> Bounded:
    """g + weight_decay * p, and no operation where there is no decay."""
    return where(numbers.weight_decay != 0, g + p * numbers.weight_decay, g)


def sgd_step(
    rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: dict[str, Bounded]
) -> tuple[Bounded, dict[str, Bounded]]:
    """torch.optim.SGD."""
    momentum = rule["momentum"]
    g = add_l2(numbers, g, p)
    if momentum:
        b = state["momentum_buffer"] * momentum + g * (1 - rule["dampening"])
        b = where(numbers.t == 1, g, b)
        state = {"momentum_buffer": b}
        g = g + b * momentum if rule["nesterov"] else b
    return p - g * numbers.lr, state


def adam_step(
    rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: dict[str, Bounded]
) -> tuple[Bounded, dict[str, Bounded]]:
    """torch.optim.Adam and AdamW, which differ in where the weight decay goes."""
    beta1, beta2 = rule["betas"]
    if rule.name == "AdamW":
        p = p - p * (numbers.lr * numbers.weight_decay)
    else:
        g = add_l2(numbers, g, p)
    m, v = state["exp_avg"], state["exp_avg_sq"]
    m = m + (g - m) * (1 - beta1)
    v = v * beta2 + g * g * (1 - beta2)
    new_state = {"exp_avg": m, "exp_avg_sq": v}
    if rule["amsgrad"]:
        v = new_state["max_exp_avg_sq"] = maximum(state["max_exp_avg_sq"], v)
    c1, c2 = 1 - beta1**numbers.t, 1 - beta2**numbers.t
    denominator = sqrt(v) * (1 / np.sqrt(c2)) + rule["eps"]
    return p - m * (numbers.lr / c1) / denominator, new_state
