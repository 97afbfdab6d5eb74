"""Which rules with which options are held beside torch.optim."""

from __future__ import annotations

from itertools import product
from typing import Any

import torch

from rules import Rule

# What torch's own tests try, torch/testing/_internal/common_optimizers.py of 2.13, but for what
# only changes how torch runs. A learning rate in a tensor is one that fp32 holds.
DECAY: dict[str, Any] = {"weight_decay": 0.1}
UP = {"maximize": True}
TENSOR_LR = {"lr": torch.tensor(2.0**-10)}
TORCHS_GRID: dict[str, list[dict[str, Any]]] = {
    "SGD": [
        {},
        {"lr": 0.01},
        TENSOR_LR,
        {"weight_decay": 0.5},
        {"momentum": 0.9},
        DECAY | UP,
        {"momentum": 0.9, "dampening": 0.5},
        {"momentum": 0.9} | DECAY,
        {"momentum": 0.9, "nesterov": True} | DECAY,
    ],
    "Adam": [{}, {"lr": 0.01}, DECAY, DECAY | UP, DECAY | {"amsgrad": True}, TENSOR_LR],
    "AdamW": [{}, {"lr": 0.01}, DECAY, DECAY | UP, DECAY | {"amsgrad": True}, TENSOR_LR],
    "NAdam": [
        {},
        {"lr": 1e-3},
        {"momentum_decay": 6e-3},
        DECAY,
        DECAY | {"momentum_decay": 6e-3},
        DECAY | {"momentum_decay": 6e-3, "decoupled_weight_decay": True},
        DECAY | UP,
        TENSOR_LR,
    ],
    "RAdam": [
        {},
        {"lr": 2e-3},
        {"eps": 1e-6},
        DECAY,
        DECAY | {"decoupled_weight_decay": True},
        DECAY | UP,
        TENSOR_LR,
    ],
    "Adamax": [{}, {"lr": 0.1}, DECAY, UP, DECAY | UP, TENSOR_LR],
    "Adagrad": [
        {},
        DECAY,
        DECAY | UP,
        {"lr": 0.1},
        DECAY | {"initial_accumulator_value": 0.1},
        DECAY | {"lr": 0.1, "lr_decay": 0.5},
        TENSOR_LR,
    ],
    "Adadelta": [
        {},
        {"lr": 0.01},
        DECAY,
        UP,
        DECAY | UP,
        {"rho": 0.95, "weight_decay": 0.9},
        TENSOR_LR,
    ],
    "RMSprop": [
        {},
        {"lr": 1e-3},
        DECAY,
        UP,
        DECAY | {"centered": True},
        DECAY | UP,
        DECAY | {"centered": True, "momentum": 0.1},
        DECAY | {"centered": True, "momentum": 0.1} | UP,
        TENSOR_LR,
    ],
}

# Unusual decays, and options that torch's tests leave alone.
UNUSUAL: dict[str, list[dict[str, Any]]] = {
    "NAdam": [
        {"betas": (0.0, 0.4), "eps": 1e-3} | DECAY,
        {"betas": (0.99, 0.9), "momentum_decay": 2.0, "decoupled_weight_decay": True} | UP,
        {"momentum_decay": 0.0},
    ],
    "RAdam": [  # never rectified, rectified from step 8 on, and from step 6 on with a large epsilon
        {"betas": (0.5, 0.4)},
        {"betas": (0.0, 0.9)} | UP,
        {"betas": (0.99, 0.999), "eps": 1e-2, "decoupled_weight_decay": True} | DECAY,
    ],
    "Adamax": [{"betas": (0.0, 0.4), "eps": 1e-3} | DECAY],
    "Adagrad": [{"eps": 1e-3, "lr_decay": 1e-3, "initial_accumulator_value": 1e-6}],
    "Adadelta": [{"rho": 0.5, "eps": 1e-3} | UP, {"eps": 1e-12}],
    "RMSprop": [
        {"alpha": 0.5, "eps": 1e-3, "momentum": 0.9} | UP,
        {"alpha": 0.9, "centered": True},
        {"alpha": 0.0},
    ],
}


def sgd_rules() -> list[Rule]:
    """SGD: every way to use momentum, with and without weight decay, down and up."""
    momenta = [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.5},
        {"momentum": 0.9, "dampening": 1.0},
        {"momentum": 0.9, "nesterov": True},
    ]
    return [
        Rule("SGD", {"lr": 0.05, **momentum, "weight_decay": weight_decay, "maximize": maximize})
        for momentum, weight_decay, maximize in product(momenta, [0.0, 0.1], [False, True])
    ]


def adam_rules(name: str) -> list[Rule]:
    """Adam or AdamW: with and without AMSGrad and weight decay, down and up; unusual moments."""
    switches = [
        {"amsgrad": amsgrad, "weight_decay": weight_decay, "maximize": maximize}
        for amsgrad, weight_decay, maximize in product([False, True], [0.0, 0.1], [False, True])
    ]
    moments = [
        {"betas": betas, "eps": 1e-3, "amsgrad": amsgrad, "weight_decay": 0.1}
        for betas, amsgrad in product([(0.999, 0.4), (0.0, 0.9)], [False, True])
    ]
    return [Rule(name, {"lr": 0.01, **options}) for options in switches + moments]


# All combinations of what SGD, Adam and AdamW have.
COMBINED = [*sgd_rules(), *adam_rules("Adam"), *adam_rules("AdamW")]

# One of every rule that torch.optim has for all tensors, with most of its options at once.
ONE_OF_EACH = [
    Rule("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.5} | DECAY),
    Rule("Adam", {"lr": 0.01, "amsgrad": True} | DECAY),
    Rule("AdamW", {"lr": 0.01} | DECAY),
    Rule("NAdam", {"decoupled_weight_decay": True, "momentum_decay": 6e-3} | DECAY),
    Rule("RAdam", {"lr": 0.01} | DECAY),
    Rule("Adamax", {"lr": 0.01} | DECAY),
    Rule("Adagrad", {"lr": 0.1, "lr_decay": 0.5, "initial_accumulator_value": 0.1} | DECAY),
    Rule("Adadelta", {"rho": 0.95} | DECAY),
    Rule("RMSprop", {"centered": True, "momentum": 0.9} | DECAY),
    Rule("Adafactor", {"lr": 0.05, "eps": (1e-3, 1e-2)} | DECAY),
]

# torch's for matrices alone.
MUON = Rule("Muon", {"lr": 0.01, "adamw_lr_scale": 0.5, "adjust_lr_fn": "match_rms_adamw"} | DECAY)


def of_grid(grid: dict[str, list[dict[str, Any]]]) -> list[Rule]:
    return [Rule(name, options) for name, every in grid.items() for options in every]
