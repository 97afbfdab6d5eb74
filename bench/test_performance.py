"""The page of figures is what its script makes of the files; the model adds up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import model
import performance
from page import figure, grid, size_name
from peers import besides
from results import Folder, Name

COUNTS = {
    "instructions_a_parameter": 16.0,
    "blocks": 2,
    "parameters_of_block": 1000,
    "cycles_alone": 500,
    "stores": 0,
    "staged_bytes": 0,
}
DEVICE = model.Device("some", 10, 1e9, 1e12, "by nothing", schedulers=4, lanes=32)
LATENCIES = {"memory": 400}


def test_the_page_and_its_plots_are_what_the_files_say() -> None:
    assert performance.differing(performance.sections()) == []


def test_a_page_that_says_something_else_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = performance.DOCS
    monkeypatch.setattr(performance, "ROOT", tmp_path)
    monkeypatch.setattr(performance, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(performance, "PLOTS", tmp_path / "docs" / "performance")
    performance.PLOTS.mkdir(parents=True)
    text = (docs / "performance.md").read_text()
    assert "| 13.1 |" in text.replace("         13.1", "13.1")
    (performance.DOCS / "performance.md").write_text(text.replace("13.1", "31.1"))
    for path in (docs / "performance").iterdir():
        (performance.PLOTS / path.name).write_bytes(path.read_bytes())
    (performance.PLOTS / "gpu-h200-peers.svg").write_text("another plot")
    (performance.PLOTS / "of-no-section.svg").write_text("left over")
    assert performance.differing(performance.sections()) == [
        "docs/performance.md",
        "docs/performance/gpu-h200-peers.svg",
        "docs/performance/of-no-section.svg",
    ]


def test_every_table_names_a_file_that_is_there() -> None:
    for section in performance.sections():
        links = [
            part.split(")")[0]
            for line in [*section.before, *section.after]
            for part in line.split("](../bench/results/")[1:]
        ]
        assert links or not section.table, section.title
        for link in links:
            assert (performance.ROOT / "bench" / "results" / link).exists(), link


def test_names_are_read() -> None:
    assert Name.of("cuda/update/SGD(momentum=0.9)/K:1/N:10000/segments:256") == Name(
        "update/SGD(momentum=0.9)", 1, 10000, "segments:256"
    )
    assert Name.of("torch/cpu/adamw/N:4194304/tensors:4096") == Name(
        "adamw", None, 4194304, "tensors:4096"
    )
    assert Name.of("cuda/weights/PCGrad/K:8/batch:256").variant == "batch:256"


def test_figures_and_sizes() -> None:
    assert [figure(v) for v in (None, 0.12345, 1234.5)] == ["–", "0.123", "1234"]  # noqa: RUF001
    assert [size_name(n) for n in (10**4, 1 << 26, 1 << 24)] == ["10⁴", "6.7·10⁷", "1.7·10⁷"]
    assert grid({2: [(10**4, 0.5)], 1: [(10**5, 1.0)]})[-2:] == [
        "|     1 | –   |   1 |",  # noqa: RUF001
        "|     2 | 0.5 | –   |",  # noqa: RUF001
    ]


def test_a_peer_that_no_file_has_is_not_measured(tmp_path: Path) -> None:
    (tmp_path / "torch.json").write_text(
        '{"context": {}, "benchmarks": ['
        '{"name": "torch/cuda/adamw/N:4/tensors:1", "fused.times": 2.0}]}'
    )
    found = list(besides(Folder(tmp_path), "cuda"))
    assert [each.times for each in found if each.times] == [2.0]
    assert all(each.times is None for each in besides(Folder(tmp_path), "cpu"))


def test_the_longest_of_three_is_predicted() -> None:
    told = model.predict(COUNTS, LATENCIES, 10**9, 4e9, DEVICE)
    assert told.bytes == pytest.approx(4e9 / 1e12)
    assert told.issue == pytest.approx(1e9 * 16 / 32 / (10 * 4 * 1e9))
    assert told.latency == pytest.approx(1e9 / (10 * 2 * 1000) * 500 / 1e9)
    assert (told.by, told.seconds) == ("latency", told.latency)


def test_what_only_reads_has_its_own_bandwidth() -> None:
    reading = {"name": "gram", "read.bytes": 8.0, "read.GB/s": 2000.0}
    copying = {"name": "update", "floor.bytes": 8.0, "floor.GB/s": 1000.0}
    summary = {"devices_after": [{"clocks.sm": "1000 MHz"}]}
    device = model.measured(DEVICE, {"benchmarks": [reading, copying]}, summary)
    assert model.predict(COUNTS, LATENCIES, 1, 4e9, device).bytes == pytest.approx(4e9 / 2e12)
    writes = COUNTS | {"stores": 1}
    assert model.predict(writes, LATENCIES, 1, 4e9, device).bytes == pytest.approx(4e9 / 1e12)


def test_staged_rows_wait_for_their_bytes() -> None:
    staged = COUNTS | {"staged_bytes": 1000, "cycles_alone": 1}
    told = model.predict(staged, LATENCIES, 10**9, 4e9, DEVICE)
    assert told.latency == pytest.approx(4e9 / (10 * 2 * 1000) * 400 / 1e9)


def test_a_run_says_what_its_device_did() -> None:
    results = {
        "benchmarks": [
            {"name": "short", "floor.bytes": 10.0, "floor.GB/s": 1.0},
            {"name": "long", "floor.bytes": 99.0, "floor.GB/s": 3.0},
            {"name": "without a floor"},
        ]
    }
    idle = {"devices_after": [{"clocks.sm": "345 MHz"}]}
    device = model.measured(DEVICE, results, idle)
    assert (device.clock_hz, device.bytes_a_second) == (3.45e8, 3e9)
    assert "beside long" in device.bandwidth_is
    at_work = idle | {"stages": [{"name": "cuda_bench", "clocks": {"clocks.sm": "1500 MHz"}}]}
    assert model.measured(DEVICE, results, at_work).clock_hz == 1.5e9


def test_a_published_run_has_its_commit_and_no_paths(tmp_path: Path) -> None:
    source, output = tmp_path / "from", tmp_path / "to"
    source.mkdir()
    version = {"commit": "c0ffee", "uncommitted_changes": False}
    stage = {"name": "cuda_test", "outcome": "passed", "command": ["/home/me/cuda_test"]}
    summary = version | {"built_at": "then", "host": {"kernel": "6"}, "stages": [stage]}
    files = {
        "summary": summary,
        "torch": {"context": {}, "benchmarks": []},
        "machine_code": {"kernels": []},
    }
    for name, content in files.items():
        (source / f"{name}.json").write_text(json.dumps(content))
    publish = performance.ROOT / "bench" / "publish"
    subprocess.run([sys.executable, publish, source, output], check=True)

    def read(name: str) -> dict:
        return json.loads((output / f"{name}.json").read_text())

    assert read("torch")["context"] == version
    assert read("machine_code") == {"date": "then", **version, "kernels": []}
    assert read("summary")["stages"] == [{"name": "cuda_test", "outcome": "passed"}]
    assert "host" not in read("summary")
