"""All aggregators, each with options that make it do all it can, and which of them are what."""

from __future__ import annotations

import numpy as np

from gramstep_c import named

SEED = 0xFEDCBA9876543210

# The tasks of the checks that go through all aggregators.
TASKS = 8


def everything(tasks: int = TASKS) -> dict[str, str]:
    """The text of every aggregator, by name."""
    uneven = 1.0 + np.arange(tasks) % 3
    options: dict[str, dict[str, object]] = {
        "Sum": {},
        "Mean": {},
        "Constant": {"values": np.linspace(-1, 2, tasks)},
        "Random": {"seed": SEED},
        "PCGrad": {"seed": SEED},
        "GradVac": {"seed": SEED},
        "MGDA": {},
        "CAGrad": {"c": 0.5},
        "IMTLG": {},
        "NashMTL": {"update_every": 2},
        "FairGrad": {"alpha": 2.0},
        "AlignedMTL": {"preference": uneven, "scale": "median"},
        "DualProj": {"preference": uneven},
        "UPGrad": {"preference": uneven},
        "ConFIG": {"preference": uneven},
        "SDMGrad": {},
        "MoDo": {"gamma": 0.001},
        "Krum": {"byzantine": 1, "selected": 2},
        "MoCo": {"gamma": 0.001},
        "DBMTL": {},
        "MomentumConFIG": {"preference": uneven},
        "UncertaintyWeighting": {"lr": 0.1},
        "DWA": {"period": 2},
        "GLS": {},
        "ScaleInvariant": {},
        "FAMO": {"min_losses": -0.5 * uneven},
        "STCH": {"preference": uneven, "ideal": -uneven},
        "IMTLL": {"lr": 0.1},
        "GradNorm": {"initial_losses": uneven},
        "GradDrop": {"seed": SEED, "leak": np.arange(tasks) % 2 / 2},
        "TrimmedMean": {"trim": 2},
    }
    return {name: named(name, **chosen) for name, chosen in options.items()}


ALL = everything()

# Combine element by element.
ELEMENTWISE = ["GradDrop", "TrimmedMean"]

# Work on momenta of the rows.
MOMENTUM = ["MoCo", "DBMTL", "MomentumConFIG"]

# Draw at random, by projection or by place in the flat buffer.
DRAWING = ["Random", "PCGrad", "GradVac", "GradDrop"]

# Read losses; these need them positive.
POSITIVE_LOSSES = ["DBMTL", "DWA", "GLS", "ScaleInvariant", "GradNorm"]
LOSSES = [*POSITIVE_LOSSES, "UncertaintyWeighting", "FAMO", "STCH", "IMTLL"]

# Keep state in the plan.
STATEFUL = [
    "GradVac",
    "NashMTL",
    "SDMGrad",
    "MoDo",
    "MoCo",
    "UncertaintyWeighting",
    "DWA",
    "FAMO",
    "IMTLL",
    "GradNorm",
]

WEIGHTED = [name for name in ALL if name not in ELEMENTWISE]
