"""Small multiples: many small figures of one kind."""

from collections.abc import Callable
from typing import TypeVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure

PLAIN = "#8a8f98"  # of what is there to be compared with

Item = TypeVar("Item")


def panels(
    items: dict[str, Item],
    draw: Callable[[Axes, Item], None],
    xlabel: str,
    ylabel: str,
    *,
    sharex: bool,
    sharey: bool,
) -> Figure:
    """A panel an item, under its title; the first one's legend is that of all."""
    columns = min(len(items), 4 if len(items) <= 8 else 5)
    rows = -(-len(items) // columns)
    height = 1.25 + 0.15 * (not sharex) + 0.15 * any("\n" in title for title in items)
    figure = Figure(figsize=(9, 0.55 + height * rows))
    grid = figure.subplots(rows, columns, sharex=sharex, sharey=sharey, squeeze=False)
    axes = list(grid.flat)
    for axis, (title, item) in zip(axes, items.items(), strict=False):
        draw(axis, item)
        axis.set_title(shortened(title, 100 // columns), fontsize=8)
        axis.tick_params(labelsize=7, length=2)
    for axis in axes[len(items) :]:
        axis.set_axis_off()
    for column in range(columns):
        last = [axis for axis in grid[:, column] if axis.axison]
        for axis in last[-1:]:
            axis.tick_params(labelbottom=True)
    figure.supxlabel(xlabel, fontsize=9)
    figure.supylabel(ylabel, fontsize=9)
    handles, names = axes[0].get_legend_handles_labels()
    if names:
        figure.legend(handles, names, loc="outside upper center", ncols=len(names), fontsize=9)
    return figure


def shortened(title: str, most: int) -> str:
    """The title with its lines cut off where they would reach into the next panel."""
    lines = title.split("\n")
    return "\n".join(line if len(line) <= most else line[: most - 1] + "…" for line in lines)
