"""Draws a report of what two_digits wrote: PNG figures and one HTML page.

usage: plot.py FOLDER
"""

import argparse
from pathlib import Path

import matplotlib as mpl

import figures
from page import write_page
from runs import read_report


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws a report of what two_digits wrote.")
    parser.add_argument("folder", type=Path, help="what two_digits was given as --output")
    folder: Path = parser.parse_args().folder

    report = read_report(folder)
    with mpl.rc_context(figures.STYLE):
        for name, draw in figures.figures_of(report).items():
            draw(report).savefig(folder / f"{name}.png", dpi=160)
    print(write_page(report, folder))


if __name__ == "__main__":
    main()
