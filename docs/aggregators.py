"""Writes docs/aggregators.md from the headers: what each aggregator says of itself.

python3 docs/aggregators.py [--check]     --check: only says whether the page is what it would write
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADERS = ROOT / "include" / "gramstep" / "aggregators"
PAGE = ROOT / "docs" / "aggregators.md"

INTRODUCTION = """\
# Aggregators

Written by `docs/aggregators.py` from the headers, in the order of their list.

K tasks, G = J Jᵀ their Gram matrix, n_i = |g_i| their norms, d = Jᵀ w the combined gradient. As text,
options go in parentheses: `CAGrad(c=0.5, rescale=one_plus_c)`. `TaskValues` are one number a task, in
brackets: `UPGrad(preference=[0.3, 0.7])`.

*Promise* is what the report's `promises_kept` is about: it held where the residual, which is relative, is
no larger than the tolerance. A gradient that is not finite, or a loss that the method cannot use, never
reaches it: the step is skipped and reported, all state is as it was. Unless the optimizer is told to
propagate what is not finite; then weights are whatever the method makes of it.
"""


def listed() -> list[tuple[str, list[str]]]:
    """The parts of the list of aggregators: a title, and names."""
    text = (HEADERS / "aggregators.hpp").read_text()
    body = text[text.index("std::variant<") : text.index(">;")]
    parts: list[tuple[str, list[str]]] = []
    for line in body.splitlines()[1:]:
        if line.strip().startswith("//"):
            parts.append((line.strip().lstrip("/ ").rstrip("."), []))
        else:
            parts[-1][1].extend(re.findall(r"\w+", line))
    return parts


def header_of(name: str) -> Path:
    """The header that defines a struct."""
    for path in sorted(HEADERS.glob("*.hpp")):
        if re.search(rf"^struct {name} {{", path.read_text(), re.MULTILINE):
            return path
    raise SystemExit(f"no header defines {name}")


def comment_before(lines: list[str], at: int) -> list[str]:
    """The documentation comment that ends above a line."""
    first = at
    while first > 0 and lines[first - 1].startswith("///"):
        first -= 1
    return [line[3:].removeprefix(" ") for line in lines[first:at]]


def as_markdown(comment: list[str]) -> str:
    """Paragraphs; what is indented is a formula."""
    out: list[str] = []
    for line in comment:
        formula = line.startswith("  ") or (not line and bool(out) and out[-1].startswith("    "))
        starts = re.match(
            r"(Source|State|Losses|Degenerate input|Deterministic|Promises|Solved)\b", line
        )
        if starts and out and out[-1]:
            out.append("")
        out.append(f"    {line[2:]}" if formula and line.strip() else line)
    return "\n".join(out).replace("\n\n\n", "\n\n")


def options_of(body: str) -> list[str]:
    """A line an option: name, default and what is said of it."""
    fields = re.findall(
        r"^  ([\w:]+) (\w+) = ([^;]*);[ ]*///< ((?:.*\n(?:[ ]*///< .*\n)*))", body, re.MULTILINE
    )
    lines = []
    for kind, name, default, said in fields:
        text = " ".join(part.strip().removeprefix("///< ") for part in said.splitlines())
        value = default.rsplit("::", 1)[-1].replace("{}", "none given")
        lines.append(f"| `{name}` | {kind.removeprefix('std::')} | {value} | {text} |")
    return lines


def section(name: str) -> str:
    """What the page says of one aggregator."""
    path = header_of(name)
    text = path.read_text()
    lines = text.splitlines()
    at = lines.index(f"struct {name} {{")
    body = text[text.index(f"struct {name} {{") :]
    body = body[: body.index("\n};")]
    said = [f"### {name}", "", as_markdown(comment_before(lines, at)), ""]
    if promise := re.search(r'promise =((?:\s*"[^"]*")+);', body):
        words = "".join(re.findall(r'"([^"]*)"', promise[1]))
        said += [f"*Promise*: {words}.", ""]
    if options := options_of(body + "\n"):
        said += ["| option | type | default | |", "|---|---|---|---|", *options, ""]
    return "\n".join(said)


def page() -> str:
    """All of it."""
    out = [INTRODUCTION]
    for title, names in listed():
        out += [f"## {title}", ""] + [section(name) for name in names]
    return "\n".join(out).rstrip() + "\n"


def main() -> None:
    """Writes or checks."""
    written = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(written)
    elif not PAGE.exists() or PAGE.read_text() != written:
        sys.exit("docs/aggregators.md is not what its headers say: run docs/aggregators.py")


if __name__ == "__main__":
    main()
