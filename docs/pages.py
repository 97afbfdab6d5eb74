"""Writes docs/aggregators.md and docs/rules.md from the headers: what each of a list says of itself.

python3 docs/pages.py [--check]     --check: only says whether the pages are what it would write
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = ROOT / "include" / "gramstep"


@dataclass
class List:
    """A variant of structs: the header it stands in, and where the structs are defined."""

    header: str
    variant: str
    structs: str  # a pattern of headers
    beside: tuple[str, ...] = ()  # structs that belong to it, and are none of its alternatives


@dataclass
class Page:
    """A page: what comes first, then its lists under their titles."""

    name: str
    introduction: str
    lists: dict[str, List]  # by title; the titles within a list stand in its place


AGGREGATORS = """\
# Aggregators

Written by `docs/pages.py` from the headers, in the order of their list.

K tasks, G = J Jᵀ their Gram matrix, n_i = |g_i| their norms, d = Jᵀ w the combined gradient. As text,
options go in parentheses: `CAGrad(c=0.5, rescale=one_plus_c)`. `TaskValues` are one number a task, in
brackets: `UPGrad(preference=[0.3, 0.7])`.

*Promise* is what the report's `promises_kept` is about: it held where the residual, which is relative, is
no larger than the tolerance. A gradient that is not finite, or a loss that the method cannot use, never
reaches it: the step is skipped and reported, all state is as it was. Unless the optimizer is told to
propagate what is not finite; then weights are whatever the method makes of it.
"""

RULES = """\
# Rules and schedules

Written by `docs/pages.py` from the headers, in the order of their lists.

p is a parameter and g the combined gradient, clipped, without the loss scale and, with `maximize`, negated.
A rule's t counts the steps that a segment took, 1 in its first; a schedule's, those that the optimizer took
before, 0 in its first. Skipped steps do not count. lr is the scheduled learning rate, of the rule's times
the group's `lr_scale`; weight_decay is the group's where it has one. What is the same for a whole segment is
worked out in the plan, in double, and rounded to fp32 once; the rest is fp32. As text, options go in
parentheses: `AdamW(lr=3e-4, weight_decay=0.1)`.

*Bytes a parameter* are 4 for the gradient, and 8 for the parameter and for each state, which are read and
written. With K tasks every pass that reads gradients reads 4 (K - 1) more.
"""

PAGES = [
    Page(
        "aggregators",
        AGGREGATORS,
        {"": List("aggregators/aggregators.hpp", "Aggregator", "aggregators/*.hpp")},
    ),
    Page(
        "rules",
        RULES,
        {
            "Rules": List("rules/rules.hpp", "Rule", "rules/*.hpp"),
            "Schedules": List("schedules.hpp", "Schedule", "schedules.hpp", ("Warmup",)),
        },
    ),
]


def listed(which: List, title: str) -> list[tuple[str, list[str]]]:
    """The parts of a list: a title, and names."""
    text = (PUBLIC / which.header).read_text()
    text = text[text.index(f"using {which.variant} = std::variant<") :]
    parts: list[tuple[str, list[str]]] = [(title, [])]
    for line in text[: text.index(">;")].splitlines()[1:]:
        if line.strip().startswith("//"):
            parts.append((line.strip().lstrip("/ ").rstrip("."), []))
        else:
            parts[-1][1].extend(re.findall(r"\w+", line))
    parts[-1][1].extend(which.beside)
    return [part for part in parts if part[1]]


def header_of(name: str, which: List) -> Path:
    """The header that defines a struct."""
    for path in sorted(PUBLIC.glob(which.structs)):
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
            r"(Source|State|Bytes|Losses|Degenerate input|Deterministic|Promises|Solved)\b", line
        )
        # A formula has an empty line before and behind.
        apart = bool(line) and bool(out) and bool(out[-1])
        if apart and (starts or formula != out[-1].startswith("    ")):
            out.append("")
        out.append(f"    {line[2:]}" if formula and line.strip() else line)
    return "\n".join(out).replace("\n\n\n", "\n\n")


def options_of(name: str, body: str) -> list[str]:
    """A line an option: name, type, default and what is said of it. Every option says something."""
    fields = re.findall(
        r"^((?:  ///.*\n)*)  ([\w:]+) (\w+) = ([^;]*);[ ]*((?:///<.*\n(?:[ ]*///<.*\n)*)?)",
        body,
        re.MULTILINE,
    )
    said = {
        option: (kind, default, " ".join(re.findall(r"///<? (.*)", above + behind)))
        for above, kind, option, default, behind in fields
    }
    named = re.findall(r'visit\("(\w+)"', body) or list(said)
    if silent := [option for option in named if not said.get(option, ("", "", ""))[2]]:
        raise SystemExit(f"{name}: options without a comment: {', '.join(silent)}")
    lines = []
    for option in named:
        kind, default, text = said[option]
        text = text.replace("|", r"\|")
        value = default.rsplit("::", 1)[-1].replace("{}", "none given")
        lines.append(f"| `{option}` | {kind.removeprefix('std::')} | {value} | {text} |")
    return lines


def section(name: str, which: List) -> str:
    """What a page says of one struct."""
    text = header_of(name, which).read_text()
    lines = text.splitlines()
    at = lines.index(f"struct {name} {{")
    body = text[text.index(f"struct {name} {{") :]
    body = body[: body.index("\n};")]
    said = [f"### {name}", "", as_markdown(comment_before(lines, at)), ""]
    if promise := re.search(r'promise =((?:\s*"[^"]*")+);', body):
        words = "".join(re.findall(r'"([^"]*)"', promise[1]))
        said += [f"*Promise*: {words}.", ""]
    if options := options_of(name, body + "\n"):
        said += ["| option | type | default | |", "|---|---|---|---|", *options, ""]
    return "\n".join(said)


def written(page: Page) -> str:
    """All of a page."""
    out = [page.introduction]
    for title, which in page.lists.items():
        for part, names in listed(which, title):
            out += [f"## {part}", ""] + [section(name, which) for name in names]
    return "\n".join(out).rstrip() + "\n"


def main() -> None:
    """Writes or checks."""
    for page in PAGES:
        path = ROOT / "docs" / f"{page.name}.md"
        text = written(page)
        if "--check" not in sys.argv[1:]:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"docs/{path.name} is not what its headers say: run docs/pages.py")


if __name__ == "__main__":
    main()
