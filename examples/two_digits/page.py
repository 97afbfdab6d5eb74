"""Writes a report's page: one HTML file with findings, tables and figures."""

import base64
import html
import re
from pathlib import Path
from string import Template
from typing import Any

from figures import figures_of, moving_weights
from runs import Method, Report, points

Entry = dict[str, Any]  # a method's summary


def write_page(report: Report, folder: Path) -> Path:
    """Writes index.html beside the figures, which it contains."""
    page = folder / "index.html"
    figures = {name: data_uri(folder / f"{name}.png") for name in figures_of(report)}
    steps = by_hand(report)
    template = template_with({*figures, *(["by_hand"] if steps else [])})
    page.write_text(
        template.substitute(
            figures,
            setting=setting(report),
            findings="\n".join(f"<li>{finding}</li>" for finding in findings(report)),
            reference=html.escape(report.reference),
            reference_rule=html.escape(report.reference_rule),
            rule_table=rule_table(report),
            how_to_read=how_to_read(report),
            edges=edges(report),
            search_seeds=counted(report.summary["options"]["search_seeds"], "seed"),
            table=table(report),
            notes="\n".join(f"<p class=soft>{note}</p>" for note in notes(report)),
            by_hand=steps,
            held_out=f"{report.summary['options']['held_out_pairs']:,}",
            seeds=counted(report.summary["options"]["seeds"], "seed"),
            machine=machine(report),
            still=still(report),
        ),
        encoding="utf-8",
    )
    return page


def template_with(parts: set[str]) -> Template:
    """The page's template with those of its optional parts."""
    text = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    optional = re.compile(r"<!-- if (\w+) -->\n(.*?)<!-- end -->\n", re.DOTALL)
    return Template(optional.sub(lambda part: part[2] if part[1] in parts else "", text))


def data_uri(image: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(image.read_bytes()).decode("ascii")


def setting(report: Report) -> str:
    """What was trained, in a sentence or two."""
    options = report.summary["options"]
    text = (
        f"{report.summary['parameters']:,} parameters, {options['train_pairs']:,} training images, "
        f"{options['epochs']} epochs in batches of {options['batch']}."
    )
    if options["label_noise"]:
        text += f" {options['label_noise']:.0%} of the right digit’s training labels are random."
    if options["scale"] != 1:
        text += f" The right digit’s loss is multiplied by {options['scale']:g}."
    if options["states"] != "float32":
        text += f" The rules’ state is {options['states']}, rounded stochastically."
    return text


def machine(report: Report) -> str:
    """Where the steps were timed."""
    where = report.summary["machine"]
    if where["device"] == "cuda":
        return "one GPU"
    threads = where["threads"]
    return f"CPU, {html.escape(where['isa'])}, {threads} thread{'s' if threads > 1 else ''}"


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def findings(report: Report) -> list[str]:
    """What the trainer found."""
    return [
        f"<b>{html.escape(finding['topic'])}.</b> {html.escape(finding['text'])}"
        for finding in report.summary["findings"]
    ]


def how_to_read(report: Report) -> str:
    """A figure of differences."""
    seeds = counted(report.summary["options"]["seeds"], "seed")
    return (
        f"Mean difference over {seeds} and its 95 % interval by Student’s t; a grey dot is a seed. "
        "Every seed gives all methods the same training images, initial parameters and batches, so "
        "that they are compared seed by seed. Intervals may be cut off at the edge; an arrow points "
        "to a mean that lies outside."
    )


def edges(report: Report) -> str:
    """Which rates lie at the edge of those tried."""
    at = [
        f"{html.escape(search['rule'])} ({search['chosen']:g}, the {search['edge']})"
        for search in report.searches
        if search["edge"]
    ]
    if not at:
        return "None of those chosen lies at the edge of those tried."
    return f"At the edge of those tried, so that one beyond it may do better: {', '.join(at)}."


def rule_table(report: Report) -> str:
    """The body of the table of rules, all with the reference aggregator."""
    seeds = report.summary["options"]["seeds"]
    rows = []
    for entry in report.rule_entries:
        method = Method(entry["rule"], entry["aggregator"])
        cells = [
            f"<th>{html.escape(entry['rule'])}</th>",
            f"<td>{entry['lr']:g}</td>",
            *(f"<td>{percent(spread, seeds)}</td>" for spread in entry["accuracy"].values()),
            *(difference(report, "rule", method, task) for task in report.tasks),
            f"<td>{entry['step_us']:.0f}</td>",
        ]
        of_reference = " class=reference" if entry["rule"] == report.reference_rule else ""
        rows.append(f"<tr{of_reference}>{''.join(cells)}</tr>")
    return "\n".join(rows)


def table(report: Report) -> str:
    """The body of the table, a row a method."""
    seeds = report.summary["options"]["seeds"]
    rows = []
    last_rule = ""
    for entry in report.entries:
        method = Method(entry["rule"], entry["aggregator"])
        kept = entry["promise_kept"]
        momenta = "<sup>m</sup>" if entry["on_momenta"] else ""
        cells = [
            f"<th>{rule_and_rate(entry) if entry['rule'] != last_rule else ''}</th>",
            f"<td class=name>{html.escape(entry['aggregator'])}</td>",
            *(f"<td>{percent(spread, seeds)}</td>" for spread in entry["accuracy"].values()),
            *(difference(report, "aggregator", method, task) for task in report.tasks),
            f"<td>{percent(entry['conflict_rate'], seeds)}{momenta}</td>",
            *(f"<td>{number(spread['mean'])}</td>" for spread in entry["weights"].values()),
            f"<td>{'' if kept is None else share(kept)}</td>",
            f"<td>{entry['step_us']:.0f}</td>",
        ]
        classes = "first " * (entry["rule"] != last_rule)
        classes += "reference" * (entry["aggregator"] == report.reference)
        rows.append(f'<tr class="{classes.strip()}">{"".join(cells)}</tr>')
        last_rule = entry["rule"]
    return "\n".join(rows)


def rule_and_rate(entry: Entry) -> str:
    return f"{html.escape(entry['rule'])} <small>{entry['lr']:g}</small>"


def percent(spread: Entry, seeds: int) -> str:
    """The mean, and the deviation if there is more than one seed."""
    if spread["mean"] is None:
        return ""
    mean = f"{100 * spread['mean']:.1f}"
    return mean if seeds < 2 else f"{mean} <small>± {100 * spread['deviation']:.1f}</small>"


def share(kept: float) -> str:
    """A share in percent, which says 100 of nothing less."""
    return "100" if kept == 1 else f"{min(100 * kept, 99.99):.2f}"


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}".replace("-", "−")


def difference(report: Report, family: str, method: Method, task: str) -> str:
    """A cell: the difference from the reference with its interval."""
    comparison = report.comparison(family, method, task)
    if comparison is None:
        return "<td></td>"
    text = points(comparison["difference"])
    if comparison["half_width"] is not None:
        text += f" <small>± {100 * comparison['half_width']:.1f}</small>"
    return f'<td class="{comparison["verdict"]}">{text}</td>'


def notes(report: Report) -> list[str]:
    """What a reader of this table has to know beside what all tables need."""
    result = []
    if any(entry["on_momenta"] for entry in report.summary["methods"]):
        result.append(
            "<sup>m</sup> These look at a momentum of each task’s gradient. Their conflict is "
            "the momenta’s, and is not to be compared with the others’."
        )
    if any(spread["mean"] is None for e in report.entries for spread in e["weights"].values()):
        result.append("Without weights: combined element by element.")
    options = report.summary["options"]
    left_out = options["rules_left_out"] + options["aggregators_left_out"]
    if left_out:
        reasons = "; ".join(html.escape(entry["reason"]) for entry in left_out)
        result.append(f"Left out, with two tasks and default options: {reasons}.")
    return result


def by_hand(report: Report) -> str:
    """The body of the second table: the step of the library and the same by hand."""
    rows = []
    for entry in report.summary["methods"]:
        fused, unfused = entry["fused_us"], entry["unfused_us"]
        if unfused is not None:
            rows.append(
                f"<tr><th>{html.escape(entry['rule'])}</th>"
                f"<td class=name>{html.escape(entry['aggregator'])}</td>"
                f"<td>{fused:.0f}</td><td>{unfused:.0f}</td><td>{unfused / fused:.1f}×</td></tr>"
            )
    return "\n".join(rows)


def still(report: Report) -> str:
    """Which methods have no panel of weights, and what their weights are."""
    moving = moving_weights(report)
    weights: dict[str, str] = {}
    for entry in report.entries:
        if Method(entry["rule"], entry["aggregator"]) not in moving:
            values = [number(spread["mean"]) for spread in entry["weights"].values()]
            weights[entry["aggregator"]] = " and ".join(filter(None, values)) or "no weights"
    if not weights:
        return ""
    return f"No panel: {', '.join(f'{html.escape(n)} ({w})' for n, w in weights.items())}."
