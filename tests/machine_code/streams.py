"""What every kernel of the gram and update stages must and must not have, hot or not."""

from __future__ import annotations

import re

from counts import hot_loop
from sass import streamed
from timing import is_double
from tools import Kernel

# Arrays of state by update. Adafactor's second moments of a matrix are a number a row and a column.
STATES = {
    r"SgdUpdate<false>|FactoredAdafactorUpdate": 0,
    r"SgdUpdate<true>|AdagradUpdate|LionUpdate|LARSUpdate|AdafactorUpdate|MuonUpdate<\w+>": 1,
    r"ScheduleFreeUpdate<false>|RMSpropUpdate<false, false>": 1,
    r"AdamUpdate<false>|NAdamUpdate|RAdamUpdate|AdamaxUpdate|AdadeltaUpdate|LAMBUpdate": 2,
    r"MuonRestUpdate|ScheduleFreeUpdate<true>": 2,
    r"RMSpropUpdate<(true, false|false, true)>": 2,
    r"AdamUpdate<true>|AdEMAMixUpdate|RMSpropUpdate<true, true>": 3,
}


def states_of(update: str) -> int:
    """The arrays of state that an update has."""
    for pattern, count in STATES.items():
        if re.fullmatch(pattern, update):
            return count
    raise ValueError(f"{update}: an update this check does not know; say how many states it has")


def streams_of(kernel: str) -> tuple[int, int] | None:
    """128-bit loads and stores that a kernel needs a turn; None where it has nothing to read four
    of at a time."""
    if "Any" in kernel:  # AnyType, AnyCombination: asks for the type first: some of its accesses have 128 bits
        return 0, 0
    body, _, rest = kernel.partition("<")
    update = re.split(r", (?=WeightedSum|ByElement)|>$", rest)[0]
    found = re.search(r"WeightedSum<\w+, ([1-9]\d*)>", rest)
    rows = int(found[1]) if found else 4  # any K: four rows at a time
    match body:
        case "SettleBody" | "LinesBody" | "RowFactorsBody" | "FoldBody":
            return None
        case "TileBody":
            return rows, 0
        case "NormalizeBody":
            return 1, 1
        case "MeasureBody" if update == "LARSUpdate":  # whose momentum takes no part
            return rows + 1, 0
        case "MeasureBody" if update.startswith("MuonUpdate"):  # parameters take no part
            return rows + 1, 2
        case "MeasureBody":
            return rows + 1 + states_of(update), states_of(update)
        case "UpdateBody" if re.match("LAMBUpdate|MuonUpdate", update):  # gradients are in states
            return 1 + states_of(update), 1
        case "UpdateBody" if update == "AdafactorUpdate":  # whose moment is up to date
            return rows + 1 + states_of(update), 1
        case "UpdateBody":
            return rows + 1 + states_of(update), 1 + states_of(update)
        case "GramBody":
            return int(rest.rstrip(">").split(", ")[-1]), 0
    return 1, 0


def complaints(kernel: Kernel) -> list[str]:
    """What is wrong with a kernel."""
    wrong = []
    own = kernel.resources
    local = [each.opcode for each in kernel.code.instructions if each.name in ("LDL", "STL")]
    if local or own.local or own.stack:
        wrong.append(f"{len(local)} accesses to local memory, {own.stack} bytes of stack")
    needed = streams_of(kernel.name)
    if needed is None:
        return wrong
    loop = hot_loop(kernel)
    turn = loop.turn() if loop else []
    for what, least, found in (
        ("loads", needed[0], streamed(turn, ("LDG", "LDGSTS"))),
        ("stores", needed[1], streamed(turn, ("STG",))),
    ):
        if found < least:
            wrong.append(f"got {found} 128-bit {what} a turn of the hot loop, expected {least}")
    # Aggregators that look at every element may work one out in double.
    if kernel.name.startswith(("UpdateBody", "MeasureBody")) and not re.search(
        "ByElement|AnyCombination", kernel.name
    ):
        double = sum(map(is_double, turn))
        if double:
            wrong.append(f"{double} double-precision instructions in the hot loop")
    return wrong


def contracted(ptx: str) -> list[str]:
    """Update kernels in whose PTX a product and a sum are one instruction: their bits would not be
    those of other devices. In machine code division and square root have some of their own."""
    entries = re.findall(r"\.entry (\w*(?:Update|Measure|Tile)Body\w*)\((.*?)\n\}", ptx, re.DOTALL)
    return [name for name, body in entries if re.search(r"\bfma\.rn\.", body)]
