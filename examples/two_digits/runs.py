"""Reads what the trainer wrote: summary.json, samples.json and steps.jsonl."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Method:
    """A rule and an aggregator."""

    rule: str
    aggregator: str

    def __str__(self) -> str:
        return f"{self.rule}, {self.aggregator}"


@dataclass(frozen=True)
class Course:
    """What the steps of a method's runs saw, one row a seed and one column a step."""

    losses: Array  # [seeds, steps, tasks]
    conflicts: Array  # [seeds, steps], 1 where the gradients conflicted
    cosines: Array  # [seeds, steps], the mean over pairs of tasks


@dataclass(frozen=True)
class Report:
    """All that the trainer wrote."""

    summary: dict[str, Any]
    samples: dict[str, Any]
    courses: dict[Method, Course]

    @property
    def tasks(self) -> list[str]:
        return list(self.summary["methods"][0]["accuracy"])

    @property
    def rules(self) -> list[str]:
        return list(dict.fromkeys(method.rule for method in self.courses))

    @property
    def aggregators(self) -> list[str]:
        return list(dict.fromkeys(method.aggregator for method in self.courses))


def read_report(folder: Path) -> Report:
    """Reads the three files of a folder."""
    steps: dict[Method, dict[int, list[dict[str, Any]]]] = {}
    with open(folder / "steps.jsonl", encoding="utf-8") as lines:
        for line in lines:
            step = json.loads(line)
            seeds = steps.setdefault(Method(step["rule"], step["aggregator"]), {})
            seeds.setdefault(step["seed"], []).append(step)
    return Report(
        summary=json.loads((folder / "summary.json").read_text(encoding="utf-8")),
        samples=json.loads((folder / "samples.json").read_text(encoding="utf-8")),
        courses={method: course_of(list(seeds.values())) for method, seeds in steps.items()},
    )


def course_of(runs: list[list[dict[str, Any]]]) -> Course:
    """The steps of a method's runs as arrays; a number that was not there becomes NaN."""

    def column(name: str) -> Array:
        return np.array([[step[name] for step in run] for run in runs], dtype=float)

    cosines = column("cosines")  # [seeds, steps, tasks, tasks]
    first, second = np.triu_indices(cosines.shape[-1], k=1)
    return Course(
        losses=column("losses"),
        conflicts=column("conflict"),
        cosines=cosines[:, :, first, second].mean(axis=-1),
    )


def windows(values: Array, count: int) -> Array:
    """The means of `count` runs of neighbours along axis 1."""
    count = min(count, values.shape[1])
    edges = np.linspace(0, values.shape[1], count + 1).astype(int)
    means = [values[:, a:b].mean(axis=1) for a, b in pairwise(edges)]
    return np.stack(means, axis=1)


def window_centres(steps: int, count: int) -> Array:
    """The steps in the middle of `count` windows."""
    return np.linspace(0, steps, 2 * count + 1)[1::2]
