"""The script for a GPU machine as far as it goes without one: programs that only pretend."""

from __future__ import annotations

import importlib.util
import json
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    """The script as a module."""
    loader = SourceFileLoader("gpu", str(Path(__file__).with_name("gpu")))
    spec = importlib.util.spec_from_loader("gpu", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path, gpu: ModuleType) -> Path:
    """What --build would have filled."""
    built = tmp_path / "built"
    built.mkdir()
    (built / "built.json").write_text('{"commit": "c0ffee", "uncommitted_changes": false}')
    (built / "machine_code.json").write_text('{"kernels": []}')
    return built


def program(path: Path, *lines: str) -> Path:
    """A program of the shell."""
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)
    return path


def outcomes(gpu: ModuleType, folder: Path, stages: list, budget_s: float = 60) -> tuple:
    """Whether a run of some stages passed, and how each of them ended."""
    output = folder.parent / "output"
    passed = gpu.run(folder, output, budget_s, stages)
    summary = json.loads((output / "summary.json").read_text())
    return passed, [stage["outcome"] for stage in summary["stages"]]


def test_every_stage_that_was_promised_is_planned(gpu: ModuleType, folder: Path) -> None:
    stages = {stage.name: stage for stage in gpu.planned(folder, folder / "out")}
    assert list(stages) == [
        *("cuda_test", "python_check", "cuda_bench", "torch_bench"),
        *("memcheck", "racecheck", "initcheck", "synccheck", "compiled_bench"),
    ]
    for tool in gpu.SANITIZER_TOOLS:
        assert ["--tool", tool] == stages[tool].command[1:3]
    assert stages["compiled_bench"].command[-2:] == ["--peers", "compiled"]


def test_stages_end_as_their_programs_do(gpu: ModuleType, folder: Path) -> None:
    good = gpu.Planned("good", [program(folder / "good", "echo well")], 5)
    bad = gpu.Planned("bad", [program(folder / "bad", "exit 3")], 5)
    slow = gpu.Planned("slow", [program(folder / "slow", "sleep 60")], 1)
    none = gpu.Planned("none", [folder / "none"], 5)
    refusing = program(folder / "refusing", "echo Device not supported", "exit 1")
    refused = gpu.Planned("refused", [refusing], 5)
    passed, ends = outcomes(gpu, folder, [good, bad, slow, none, refused])
    assert ends == ["passed", "failed", "timed out", "absent", "refused"]
    assert not passed
    assert outcomes(gpu, folder, [good])[0]


def test_what_may_end_otherwise_does_not_fail_the_run(gpu: ModuleType, folder: Path) -> None:
    excused = ("passed", "absent", "refused")
    tool = gpu.Planned("memcheck", [folder / "none"], 5, may_end=excused)
    broken = program(folder / "broken", "exit 99")
    assert outcomes(gpu, folder, [tool]) == (True, ["absent"])
    found = gpu.Planned("memcheck", [broken], 5, may_end=excused)
    assert outcomes(gpu, folder, [found]) == (False, ["failed"])


def test_nothing_is_begun_when_the_budget_is_used_up(gpu: ModuleType, folder: Path) -> None:
    slow = gpu.Planned("slow", [program(folder / "slow", "sleep 60")], 50)
    late = gpu.Planned("late", [program(folder / "late", "touch late")], 50)
    passed, ends = outcomes(gpu, folder, [slow, late], budget_s=1)
    assert ends == ["timed out", "not run"]
    assert not passed


def test_a_run_leaves_what_it_knows(gpu: ModuleType, folder: Path) -> None:
    tells = 'echo "$GRAMSTEP_REQUIRE_GPU $GRAMSTEP_LIBRARY"'
    stage = gpu.Planned("tells", [program(folder / "tells", tells)], 5)
    assert outcomes(gpu, folder, [stage]) == (True, ["passed"])
    output = folder.parent / "output"
    assert f"1 {folder}/libgramstep.so" in (output / "log.txt").read_text()
    summary = json.loads((output / "summary.json").read_text())
    assert summary["commit"] == "c0ffee"
    assert {"date", "devices_before", "devices_after", "stages"} <= set(summary)
    assert (output / "machine_code.json").exists()


def test_a_dry_run_runs_nothing(
    gpu: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(folder / "cuda_test", "touch ran")
    gpu.show(gpu.planned(folder, folder / "out"), budget_s=570)
    said = capsys.readouterr().out
    assert "cuda_test: at most 120 s, ends by 120 s\n" in said
    assert "cuda_bench: at most 240 s, ends by 540 s, absent here\n" in said
    assert "compiled_bench: at most 200 s, ends by 570 s" in said
    assert not (folder / "out").exists()


def test_clocks_are_read_after_every_stage(
    gpu: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = "NVIDIA H200, 580, 1 MiB, 1980 MHz, 3201 MHz, 1, 2, 3, 4, 5, 6"
    (folder / "bin").mkdir()
    program(folder / "bin" / "nvidia-smi", f"echo '{answer}'")
    monkeypatch.setenv("PATH", str(folder / "bin"), prepend=":")
    stage = gpu.Planned("good", [program(folder / "good", "exit 0")], 5)
    assert outcomes(gpu, folder, [stage])[0]
    summary = json.loads((folder.parent / "output" / "summary.json").read_text())
    assert summary["stages"][0]["clocks"] == {"clocks.sm": "1980 MHz", "clocks.mem": "3201 MHz"}
    assert summary["devices_after"][0]["name"] == "NVIDIA H200"
