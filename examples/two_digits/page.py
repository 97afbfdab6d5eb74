"""Writes a report's page: one HTML file with table, findings and figures."""

import base64
import html
from itertools import combinations
from pathlib import Path
from string import Template
from typing import Any

from figures import FIGURES
from runs import Report

Entry = dict[str, Any]  # a method's summary


def write_page(report: Report, folder: Path) -> Path:
    """Writes index.html beside the figures, which it contains."""
    template = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
    page = folder / "index.html"
    figures = {name: data_uri(folder / f"{name}.png") for name in FIGURES}
    page.write_text(
        template.substitute(
            figures,
            setting=setting(report),
            findings="\n".join(f"<li>{finding}</li>" for finding in findings(report)),
            table=table(report),
            held_out=f"{report.summary['options']['held_out_pairs']:,}",
            seeds=report.summary["options"]["seeds"],
            machine=machine(report),
        ),
        encoding="utf-8",
    )
    return page


def data_uri(image: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(image.read_bytes()).decode("ascii")


def setting(report: Report) -> str:
    """What was trained, in a sentence or two."""
    options = report.summary["options"]
    rates = ", ".join(f"{html.escape(rule)} {rate:g}" for rule, rate in options["lr"].items())
    text = (
        f"{report.summary['parameters']:,} parameters, {options['train_pairs']:,} training images, "
        f"{options['epochs']} epochs in batches of {options['batch']}; learning rates: {rates}."
    )
    if options["label_noise"]:
        text += f" {options['label_noise']:.0%} of the right digit’s training labels are random."
    if options["scale"] != 1:
        text += f" The right digit’s loss is multiplied by {options['scale']:g}."
    return text


def machine(report: Report) -> str:
    """Where the steps were timed."""
    where = report.summary["machine"]
    if where["device"] == "cuda":
        return "one GPU"
    threads = where["threads"]
    return f"CPU, {html.escape(where['isa'])}, {threads} thread{'s' if threads > 1 else ''}"


def table(report: Report) -> str:
    """The body of the table, a row a method."""
    rows = []
    last_rule = ""
    for entry in report.summary["methods"]:
        cells = [
            f"<th>{html.escape(entry['rule']) if entry['rule'] != last_rule else ''}</th>",
            f"<td class=name>{html.escape(entry['aggregator'])}</td>",
            *(f"<td>{percent(spread)}</td>" for spread in entry["accuracy"].values()),
            f"<td>{percent(entry['conflict_rate'])}</td>",
            *(f"<td>{cell}</td>" for cell in times(entry)),
        ]
        first = " class=first" if entry["rule"] != last_rule else ""
        rows.append(f"<tr{first}>{''.join(cells)}</tr>")
        last_rule = entry["rule"]
    return "\n".join(rows)


def percent(spread: Entry) -> str:
    return f"{100 * spread['mean']:.1f} <small>± {100 * spread['deviation']:.1f}</small>"


def times(entry: Entry) -> tuple[str, str, str]:
    """Step times of the library, by hand, and their ratio."""
    fused, unfused = entry["fused_us"], entry["unfused_us"]
    if unfused is None:
        return f"{fused:.0f}", "–", "–"
    return f"{fused:.0f}", f"{unfused:.0f}", f"{unfused / fused:.1f}×"


def findings(report: Report) -> list[str]:
    """What the numbers allow to be said, and what they do not."""
    result = [conflict_finding(report)]
    if report.summary["options"]["seeds"] < 2:
        return [*result, "<b>Accuracy:</b> one seed shows no spread, and tells no method apart."]
    if len(report.aggregators) > 1:
        result.append(aggregator_finding(report))
    if len(report.rules) > 1:
        result.append(rule_finding(report))
    return result


def conflict_finding(report: Report) -> str:
    rates = [100 * entry["conflict_rate"]["mean"] for entry in report.summary["methods"]]
    return (
        f"<b>Conflict:</b> in {min(rates):.0f} to {max(rates):.0f} % of the steps the two "
        "gradients of the trunk point against each other."
    )


def aggregator_finding(report: Report) -> str:
    gaps = separated(report, same="rule", differing="aggregator")
    names = enumerate_words([html.escape(name) for name in report.aggregators])
    if not gaps:
        return (
            f"<b>Aggregators:</b> {names} cannot be told apart by accuracy. With every rule "
            "and for both digits their spreads over the seeds overlap."
        )
    return (
        f"<b>Aggregators:</b> the spreads of {names} overlap, and cannot be told apart, but for: "
        f"{'; '.join(gaps)}."
    )


def rule_finding(report: Report) -> str:
    gaps = separated(report, same="aggregator", differing="rule")
    if not gaps:
        return "<b>Rules:</b> they cannot be told apart by accuracy either: all spreads overlap."
    return (
        f"<b>Rules:</b> the spreads do not overlap for: {'; '.join(gaps)}. No other two "
        "can be told apart."
    )


def separated(report: Report, same: str, differing: str) -> list[str]:
    """Pairs of methods alike in one respect whose accuracies mean ± deviation do not overlap."""
    gaps: dict[str, dict[str, list[str]]] = {}
    for a, b in combinations(report.summary["methods"], 2):
        if a[same] != b[same]:
            continue
        for task in report.tasks:
            one, other = a["accuracy"][task], b["accuracy"][task]
            gap = one["mean"] - other["mean"]
            if abs(gap) <= one["deviation"] + other["deviation"]:
                continue
            better, worse = (a, b) if gap > 0 else (b, a)
            pair = f"{html.escape(better[differing])} above {html.escape(worse[differing])}"
            gaps.setdefault(pair, {}).setdefault(task, []).append(html.escape(a[same]))
    return [f"{pair} ({places(where)})" for pair, where in gaps.items()]


def places(where: dict[str, list[str]]) -> str:
    """For which task, and with what."""
    return ", ".join(f"{task} digit with {enumerate_words(w)}" for task, w in where.items())


def enumerate_words(words: list[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
