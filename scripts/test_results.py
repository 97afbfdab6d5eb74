"""Adds up the JUnit XML of ctest and pytest: each run, its failures and skips, the total."""

import argparse
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path


def skip_reason(case: ElementTree.Element) -> str:
    """What a skipped test gave as its reason."""
    output = case.findtext("system-out") or ""
    if of_googletest := re.search(r": Skipped\n(.+)", output):
        return of_googletest.group(1)
    skipped = case.find("skipped")
    return (skipped.get("message") if skipped is not None else None) or "no reason given"


def outcome(case: ElementTree.Element) -> str:
    """Whether a test passed, failed or was skipped."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    skipped = case.find("skipped")
    if skipped is None:
        return "passed"
    # What ctest could not start, it did not skip.
    return "failed" if skipped.get("message") == "Unable to find executable" else "skipped"


def failure(case: ElementTree.Element) -> str:
    """A failed test's name and 20 lines of its output: a sanitizer's report, or the last ones."""
    found = case.find("failure") if case.find("failure") is not None else case.find("error")
    text = case.findtext("system-out") or (found.text if found is not None else None) or ""
    lines = text.strip().splitlines()
    reports = [at for at, line in enumerate(lines) if re.search("ERROR: |WARNING: Thread", line)]
    first = reports[0] if reports else max(0, len(lines) - 20)
    return "\n".join([f"{case.get('name')} failed:", *lines[first : first + 20]])


def line(counts: Counter[str]) -> str:
    """The plain form of a result."""
    return ", ".join(f"{counts[kind]} {kind}" for kind in ("passed", "failed", "skipped"))


def main() -> None:
    """Prints the results of the files that are named and exist."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("xml", type=Path, nargs="*")
    parser.add_argument("--failed-step", help="a step that failed, perhaps before its first test")
    arguments = parser.parse_args()

    total: Counter[str] = Counter()
    for path in filter(Path.exists, arguments.xml):
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
        counts = Counter(map(outcome, cases))
        print(f"{path.stem:>16}: {line(counts)}")
        reasons = Counter(skip_reason(case) for case in cases if outcome(case) == "skipped")
        for reason, count in reasons.most_common():
            print(f"{'':>18}{count} skipped: {reason}")
        for case in filter(lambda case: outcome(case) == "failed", cases):
            print(failure(case))
        total += counts
    if arguments.failed_step and not total["failed"]:
        print(f"{arguments.failed_step:>16}: failed, counted as one")
        total["failed"] = 1
    print(line(total))


if __name__ == "__main__":
    main()
