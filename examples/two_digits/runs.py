"""Reads what the trainer wrote: summary.json, samples.json and steps.jsonl."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Step = tuple[Any, ...]  # what is kept of a line: its COLUMNS
COLUMNS = ("losses", "weights", "conflict", "cosines")


@dataclass(frozen=True)
class Method:
    """A rule and an aggregator."""

    rule: str
    aggregator: str


@dataclass(frozen=True)
class Course:
    """What the steps of a method's runs saw, one row a seed and one column a step."""

    losses: Array  # [seeds, steps, tasks]
    weights: Array  # [seeds, steps, tasks], NaN for a method without weights
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

    @property
    def searches(self) -> list[dict[str, Any]]:
        """The rules whose learning rate was searched, with what was tried."""
        return list(self.summary["rate_searches"])

    @property
    def reference(self) -> str:
        """The aggregator that others are compared with."""
        return str(self.summary["reference_aggregator"])

    @property
    def reference_rule(self) -> str:
        """The rule that others are compared with."""
        return str(self.summary["reference_rule"])

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The methods' summaries: rule by rule, and the best mean accuracy of all tasks first."""

        def place(entry: dict[str, Any]) -> tuple[int, float]:
            return self.rules.index(entry["rule"]), -mean_accuracy(entry)

        return sorted(self.summary["methods"], key=place)

    @property
    def rule_entries(self) -> list[dict[str, Any]]:
        """The summaries of all rules with the reference aggregator, the most accurate first."""
        entries = [e for e in self.summary["methods"] if e["aggregator"] == self.reference]
        return sorted(entries, key=mean_accuracy, reverse=True)

    @property
    def methods(self) -> list[Method]:
        """The methods in that order."""
        return [Method(entry["rule"], entry["aggregator"]) for entry in self.entries]

    def title(self, method: Method, separator: str = ", ") -> str:
        """A method's name, without the rule or the aggregator where there is one for all."""
        if len(self.rules) == 1:
            return method.aggregator
        if len(self.aggregators) == 1:
            return method.rule
        return f"{method.rule}{separator}{method.aggregator}"

    def comparison(self, family: str, method: Method, task: str) -> dict[str, Any] | None:
        """A method's comparison with the reference among "rule" or "aggregator" comparisons, if it
        is not the reference itself."""
        for entry in self.summary[f"{family}_comparisons"]:
            if (entry["rule"], entry["aggregator"], entry["task"]) == (
                method.rule,
                method.aggregator,
                task,
            ):
                return dict(entry)
        return None

    def accuracies(self, method: Method, task: str) -> Array:
        """A method's accuracies on a task, a value a seed."""
        return np.array(
            [
                run["accuracy"][task]
                for run in self.summary["runs"]
                if (run["rule"], run["aggregator"]) == (method.rule, method.aggregator)
            ]
        )


def mean_accuracy(entry: dict[str, Any]) -> float:
    """Of a method's summary, over tasks."""
    return float(np.mean([spread["mean"] for spread in entry["accuracy"].values()]))


def read_report(folder: Path) -> Report:
    """Reads the three files of a folder."""
    steps: dict[Method, dict[int, list[Step]]] = {}
    with open(folder / "steps.jsonl", encoding="utf-8") as lines:
        for line in lines:
            step = json.loads(line)
            seeds = steps.setdefault(Method(step["rule"], step["aggregator"]), {})
            seeds.setdefault(step["seed"], []).append(tuple(step[name] for name in COLUMNS))
    return Report(
        summary=json.loads((folder / "summary.json").read_text(encoding="utf-8")),
        samples=json.loads((folder / "samples.json").read_text(encoding="utf-8")),
        courses={method: course_of(list(seeds.values())) for method, seeds in steps.items()},
    )


def course_of(runs: list[list[Step]]) -> Course:
    """The steps of a method's runs as arrays; a number that was not there becomes NaN."""
    losses, weights, conflicts, cosines = (
        np.array([[step[column] for step in run] for run in runs], dtype=float)
        for column in range(len(COLUMNS))
    )  # cosines: [seeds, steps, tasks, tasks]
    first, second = np.triu_indices(cosines.shape[-1], k=1)
    return Course(
        losses=losses,
        weights=weights,
        conflicts=conflicts,
        cosines=cosines[:, :, first, second].mean(axis=-1),
    )


def points(share: float, digits: int = 1) -> str:
    """A difference of shares in percentage points, with its sign and a real minus."""
    text = f"{round(100 * share, digits) + 0.0:+.{digits}f}"  # + 0.0: no negative zero
    return text.replace("-", "−") if float(text) else text[1:]


def windows(values: Array, count: int) -> Array:
    """The means of `count` runs of neighbours along axis 1."""
    count = min(count, values.shape[1])
    edges = np.linspace(0, values.shape[1], count + 1).astype(int)
    means = [values[:, a:b].mean(axis=1) for a, b in pairwise(edges)]
    return np.stack(means, axis=1)


def window_centres(steps: int, count: int) -> Array:
    """The steps in the middle of `count` windows."""
    return np.linspace(0, steps, 2 * count + 1)[1::2]
