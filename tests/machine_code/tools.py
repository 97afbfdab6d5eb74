"""The tools that read machine code, and what they say of the library's objects."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from occupancy import Resources
from sass import Function, functions

ROOT = Path(__file__).resolve().parents[2]


class NoToolsError(Exception):
    """What is missing, and where it was sought."""


@dataclass
class Kernel:
    """One kernel of the library, as it is called in the source."""

    name: str
    code: Function
    resources: Resources


def find(tool: str) -> str:
    """A tool in the PATH, beside nvcc, or in the packages of this Python or of build/venv."""
    packages = [*map(Path, sys.path), *ROOT.glob("build/venv/lib/python3*/site-packages")]
    folders = [Path("/usr/local/cuda/bin")]
    if nvcc := shutil.which("nvcc"):
        folders.append(Path(nvcc).resolve().parent)
    folders += [folder for path in packages for folder in path.glob("nvidia/*/bin")]
    found = shutil.which(tool) or shutil.which(tool, path=":".join(map(str, folders)))
    if not found:
        raise NoToolsError(
            f"{tool} is not here: expected it in the PATH, beside nvcc, or from pip install -r "
            "tests/machine_code/requirements.txt"
        )
    return found


def output_of(*command: str | Path, cwd: Path | None = None, given: str | None = None) -> str:
    """What a command prints; raises where it fails."""
    words = list(map(str, command))
    return subprocess.run(
        words, cwd=cwd, input=given, check=True, capture_output=True, text=True
    ).stdout


def plain_names(mangled: list[str]) -> dict[str, str]:
    """Kernels' bodies by mangled names: UpdateBody<AdamUpdate<false>, WeightedSum<1>>."""
    text = output_of("c++filt", given="\n".join(mangled))
    plain = {}
    for name, line in zip(mangled, text.splitlines(), strict=True):
        body = re.sub(r"gramstep::(kernels|v1)::", "", line)
        found = re.match(r"void run_body<(.*?) ?>\(", body)
        plain[name] = (found[1] if found else body).replace("> >", ">>")
    return plain


def resources_of(text: str) -> dict[str, dict[str, int]]:
    """Registers and bytes by function, of cuobjdump's --dump-resource-usage."""
    found = re.findall(r"Function (\S+):\s*\n\s*(.*)", text)
    return {
        name: {key: int(value) for key, value in re.findall(r"(\w+)(?:\[0\])?:(\d+)", line)}
        for name, line in found
    }


def threads_of(text: str) -> dict[str, int]:
    """Threads a block by kernel, of PTX: what __launch_bounds__ says."""
    return {
        name: int(threads)
        for name, threads in re.findall(r"\.entry (\w+)\([^)]*\)[^{]*?\.maxntid (\d+)", text)
    }


def extracted(objects: list[Path], kind: str, folder: Path) -> list[Path]:
    """The cubins ("elf") or PTX texts ("ptx") of object files."""
    for each in objects:
        output_of(find("cuobjdump"), f"-x{kind}", "all", each.resolve(), cwd=folder)
    return sorted(folder.glob("*.cubin" if kind == "elf" else "*.ptx"))


def read(objects: list[Path], architecture: str) -> tuple[list[Kernel], str]:
    """All kernels of object files for an architecture, and their PTX, of whichever there is."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        ptx = "\n".join(path.read_text() for path in extracted(objects, "ptx", folder))
        threads = threads_of(ptx)
        kernels = []
        for cubin in extracted(objects, "elf", folder):
            if f".{architecture}." not in cubin.name:
                continue
            usage = resources_of(output_of(find("cuobjdump"), "--dump-resource-usage", cubin))
            code = list(functions(output_of(find("nvdisasm"), "--print-code", cubin)))
            plain = plain_names([each.name for each in code])
            for each in code:
                own = usage[each.name]
                resources = Resources(
                    threads[each.name], own["REG"], own["SHARED"], own["STACK"], own["LOCAL"]
                )
                kernels.append(Kernel(plain[each.name], each, resources))
    return kernels, ptx
