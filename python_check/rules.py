"""Rules by the names and options of torch.optim, or of who else has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import gramstep_c

# torch.optim's name of an option, where the C ABI has another.
C_NAMES = {"eps": "epsilon"}

# The rules whose authors have an optimizer for torch, and its name in their package.
SCHEDULE_FREE = {"ScheduleFreeSGD": "SGDScheduleFree", "ScheduleFreeAdamW": "AdamWScheduleFree"}

# What optax and authors take for an option that is left out, with torch.optim's names for options.
NOT_IN_TORCH: dict[str, dict[str, Any]] = {
    "Lion": {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.0},
    "AdEMAMix": {
        "lr": 1e-3,
        "betas": (0.9, 0.999, 0.9999),
        "alpha": 5.0,
        "beta3_warmup": 0,
        "alpha_warmup": 0,
        "eps": 1e-8,
        "weight_decay": 0.0,
    },
    "LAMB": {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-6,
        "weight_decay": 0.0,
        "always_adapt": True,
    },
    "LARS": {
        "lr": 1.0,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "trust_coefficient": 1e-3,
        "eps": 1e-8,
        "nesterov": False,
        "always_adapt": True,
    },
    "ScheduleFreeSGD": {
        "lr": 1.0,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "r": 0.0,
        "weight_lr_power": 2.0,
    },
    "ScheduleFreeAdamW": {
        "lr": 2.5e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "r": 0.0,
        "weight_lr_power": 2.0,
    },
}

# Options of gramstep that torch.optim's class does not take.
ONLY_OURS = {"maximize": False, "epsilon_hat": False}

MOMENTS = ["exp_avg", "exp_avg_sq"]

# The names of the state, where no option changes them.
STATES = {
    "NAdam": MOMENTS,
    "RAdam": MOMENTS,
    "Adamax": ["exp_avg", "exp_inf"],
    "Adagrad": ["sum"],
    "Adadelta": ["square_avg", "acc_delta"],
    "Lion": ["exp_avg"],
    "AdEMAMix": ["exp_avg_fast", "exp_avg_slow", "exp_avg_sq"],
    "LAMB": MOMENTS,
    "LARS": ["momentum_buffer"],
    "ScheduleFreeSGD": ["z"],
    "ScheduleFreeAdamW": ["z", "exp_avg_sq"],
}


@dataclass(frozen=True)
class Rule:
    """A rule with options as torch.optim's constructors take them."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        values = [f"{key}={value}".replace(" ", "") for key, value in self.options.items()]
        return "-".join([self.name, *values])

    def torch_class(self) -> Any:
        """The class of that name in torch.optim, or the authors'; skips where that is missing."""
        if self.name in SCHEDULE_FREE:
            return getattr(pytest.importorskip("schedulefree"), SCHEDULE_FREE[self.name])
        return getattr(torch.optim, self.name)

    def text(self) -> str:
        """The rule as the C ABI takes it."""
        renamed = {C_NAMES.get(key, key): value for key, value in self.options.items()}
        for index, beta in enumerate(renamed.pop("betas", ())):
            renamed[f"beta{index + 1}"] = beta
        plain = {k: v.item() if isinstance(v, torch.Tensor) else v for k, v in renamed.items()}
        return gramstep_c.named(self.name, **plain)

    def state_names(self) -> list[str]:
        """The names of the state that these options keep."""
        if self.name in STATES:
            return STATES[self.name]
        if self.name == "SGD":
            return ["momentum_buffer"] if self["momentum"] else []
        if self.name == "RMSprop":
            kept = {"momentum_buffer": self["momentum"], "grad_avg": self["centered"]}
            return ["square_avg", *[name for name, keeps in kept.items() if keeps]]
        return MOMENTS + (["max_exp_avg_sq"] if self["amsgrad"] else [])

    def initial(self, state: str) -> np.float32:
        """What every element of a state begins with."""
        return np.float32(self["initial_accumulator_value"] if state == "sum" else 0.0)

    def changed(self, **options: Any) -> Rule:
        """The rule with some options changed."""
        return Rule(self.name, {**self.options, **options})

    def __getitem__(self, option: str) -> Any:
        if option in self.options:
            return self.options[option]
        defaults = self.defaults()
        return defaults[option] if option in defaults else ONLY_OURS[option]

    def defaults(self) -> dict[str, Any]:
        """What torch.optim, or who else has the rule, takes for an option that is left out."""
        if self.name in NOT_IN_TORCH:
            return NOT_IN_TORCH[self.name]
        return torch_defaults(self.name)


@cache
def torch_defaults(name: str) -> dict[str, Any]:
    """What torch.optim takes for options that are left out."""
    return getattr(torch.optim, name)([torch.zeros(1)]).defaults
