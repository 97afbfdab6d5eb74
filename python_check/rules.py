"""Rules by the names and options of torch.optim, or of who else has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import gramstep_c
from torch_muon import MuonAndAdamW

# torch.optim's name of an option, where the C ABI has another.
C_NAMES = {"eps": "epsilon"}

# Options that are several numbers, and what the C ABI calls each of them.
PARTS = {
    "betas": ("beta1", "beta2", "beta3"),
    "eps": ("epsilon1", "epsilon2"),
    "ns_coefficients": ("ns_a", "ns_b", "ns_c"),
}

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

# Those of AdamW in Muon, where torch has an optimizer of its own for what is no matrix.
ADAMW_OF_MUON = {"betas": (0.9, 0.999), "adamw_epsilon": 1e-8, "adamw_lr_scale": 1.0}

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
    "Adafactor": ["col_var", "row_var", "variance"],
    "Muon": ["momentum_buffer", *MOMENTS],
}

# What rules that treat matrices apart keep of them; the rest of their state is of all else.
OF_MATRICES = {"Adafactor": ["col_var", "row_var"], "Muon": ["momentum_buffer"]}


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
        if self.name == "Muon":
            return MuonAndAdamW
        return getattr(torch.optim, self.name)

    def text(self) -> str:
        """The rule as the C ABI takes it."""
        renamed = {}
        for key, value in self.options.items():
            if key == "adjust_lr_fn":
                renamed["match_rms_adamw"] = value == "match_rms_adamw"
            elif isinstance(value, tuple):
                parts = zip(PARTS[key], value, strict=False)
                renamed |= {part: each for part, each in parts if each is not None}
            else:
                renamed[C_NAMES.get(key, key)] = value
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

    def is_matrix(self, shape: tuple[int, ...]) -> bool:
        """Whether the rule treats a tensor of that shape apart."""
        if self.name not in OF_MATRICES or 0 in shape:
            return False
        return len(shape) == 2 or (self.name == "Adafactor" and len(shape) > 2)

    def state_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """What is kept of a tensor of that shape, and its own shape."""
        if not self.is_matrix(shape):
            others = OF_MATRICES.get(self.name, [])
            return {name: shape for name in self.state_names() if name not in others}
        means = {"col_var": (*shape[:-2], 1, shape[-1]), "row_var": (*shape[:-1], 1)}
        return {name: means.get(name, shape) for name in OF_MATRICES[self.name]}

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
        theirs = torch_defaults(self.name)
        return {**theirs, **ADAMW_OF_MUON} if self.name == "Muon" else theirs

    def torch_options(self, dtype: torch.dtype) -> dict[str, Any]:
        """The options for a run of torch's in that precision."""
        # torch divides a learning rate that is a tensor in the tensor's own precision.
        options = {k: v.to(dtype) if torch.is_tensor(v) else v for k, v in self.options.items()}
        if self.name == "Adafactor":
            # Left to itself it is what the run's own precision resolves.
            least, least_rms = self["eps"]
            options["eps"] = (2.0**-23 if least is None else least, least_rms)
        return options


@cache
def torch_defaults(name: str) -> dict[str, Any]:
    """What torch.optim takes for options that are left out."""
    return getattr(torch.optim, name)([torch.zeros(1, 1)]).defaults
