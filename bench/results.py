"""The files of bench/results, and what their benchmarks are called."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from provenance import ROOT

Benchmark = dict[str, Any]
RESULTS = ROOT / "bench" / "results"


@dataclass(frozen=True)
class Name:
    """A benchmark's name: update/AdamW/K:1/N:10000/segments:256."""

    what: str  # update/AdamW
    tasks: int | None
    size: int | None
    variant: str  # segments:256

    @classmethod
    def of(cls, text: str) -> Name:
        """Reads one; where it ran is left out."""
        words = text.removeprefix("cuda/").split("/")
        words = [word for word in words if word not in ("torch", "cpu", "cuda")]
        numbers = {key: int(value) for key, value in re.findall(r"\b([KN]):(\d+)", text)}
        first = next((i for i, word in enumerate(words) if re.match("[KN]:", word)), len(words))
        rest = [word for word in words[first:] if not re.match("[KN]:", word)]
        what = "/".join(words[:first])
        return cls(what, numbers.get("K"), numbers.get("N"), "/".join(rest))


class Folder:
    """One of bench/results: what was measured on one machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name

    def file(self, name: str) -> dict[str, Any] | None:
        """A JSON file's content, None where there is none."""
        path = self.path / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def link(self, name: str) -> str:
        """A link to a file, from docs."""
        return f"[{name}.json](../bench/results/{self.name}/{name}.json)"

    @cached_property
    def benchmarks(self) -> dict[str, list[tuple[Name, Benchmark]]]:
        """What was measured, by file."""
        found = {}
        for name in ("cpu", "cuda", "torch", "compiled", "torchjd"):
            content = self.file(name) or {"benchmarks": []}
            measured = [each for each in content["benchmarks"] if "error_occurred" not in each]
            found[name] = [(Name.of(each["name"]), each) for each in measured]
        found["torch"] += found.pop("compiled")
        return found

    def of(self, file: str, what: str, variant: str = "") -> Iterator[tuple[Name, Benchmark]]:
        """The benchmarks of a file whose `what` matches."""
        for name, each in self.benchmarks[file]:
            if re.fullmatch(what, name.what) and name.variant == variant:
                yield name, each


def folders() -> list[Folder]:
    """All of bench/results."""
    return [Folder(path) for path in sorted(RESULTS.iterdir()) if path.is_dir()]
