"""Which version of the sources a figure belongs to."""

import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def output_of(*command: str) -> str:
    """What a command prints, "" where there is no such command or it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def provenance() -> dict[str, Any]:
    """Which version of the sources lies here."""
    git = ("git", "-C", str(ROOT), "--no-optional-locks")
    return {
        "commit": output_of(*git, "rev-parse", "HEAD") or "unknown",
        "uncommitted_changes": bool(output_of(*git, "status", "--porcelain")),
    }
