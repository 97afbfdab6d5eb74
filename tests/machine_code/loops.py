"""Loops of a function, and the way that most of their turns take."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from sass import Block, Instruction, streamed


@dataclass
class Loop:
    """Blocks that run again and again from a first one; loops inside it stand in `inner`."""

    blocks: list[Block]
    head: int
    members: set[int]
    inner: list[Loop] = field(default_factory=list)

    def path(self, avoid: Collection[str] = ("CALL",)) -> list[int]:
        """The blocks of a turn, inner loops once each: of the ways by no block that has an
        instruction of these names, that with the most streamed accesses, of equals the longest.
        CALLs are what division and square root do with rare numbers."""
        best: dict[int, tuple[tuple[int, int], int | None]] = {}
        for at in self._from_last_to_first():
            ways = [
                (best[to][0], to)
                for to in self.blocks[at].next
                if to != self.head and to in best and not self.blocks[to].has(avoid)
            ]
            (accesses, length), to = max(ways, default=((0, 0), None))
            own = self.blocks[at].instructions
            best[at] = (accesses + streamed(own), length + len(own)), to
        taken: list[int] = []
        here: int | None = self.head
        while here is not None:
            taken.append(here)
            here = best[here][1]
        return taken

    def turn(self, avoid: Collection[str] = ("CALL",), inner_turns: int = 1) -> list[Instruction]:
        """What is issued on that way, with so many turns of the loops inside."""
        path = self.path(avoid)
        for loop in self.inner:
            inside = [at for at in path if at in loop.members]
            if inside:
                first = path.index(inside[0])
                path[first : first + len(inside)] = inside * inner_turns
        return [each for at in path for each in self.blocks[at].instructions]

    def _from_last_to_first(self) -> list[int]:
        """Members, each after all that may follow it in the same turn."""
        done: list[int] = []
        seen = {self.head}
        stack = [(self.head, iter(self.blocks[self.head].next))]
        while stack:
            at, ways = stack[-1]
            to = next((way for way in ways if way in self.members and way not in seen), None)
            if to is None:
                done.append(at)
                stack.pop()
            else:
                seen.add(to)
                stack.append((to, iter(self.blocks[to].next)))
        return done


def loops(blocks: list[Block]) -> list[Loop]:
    """All loops, in order of address."""
    before = predecessors(blocks)
    dominating = dominators(blocks, before)
    members: dict[int, set[int]] = {}
    for at, block in enumerate(blocks):
        for head in block.next:
            if head in dominating[at]:
                members.setdefault(head, {head}).update(_turn(at, head, before))
    found = [Loop(blocks, head, inside) for head, inside in sorted(members.items())]
    for loop in found:
        around = [each for each in found if loop.head in each.members and each is not loop]
        if around:
            min(around, key=lambda each: len(each.members)).inner.append(loop)
    return found


def _turn(last: int, head: int, before: list[list[int]]) -> set[int]:
    """The blocks from which `last` is reached without passing `head`."""
    inside = {head}
    todo = [last]
    while todo:
        at = todo.pop()
        if at not in inside:
            inside.add(at)
            todo += before[at]
    return inside


def predecessors(blocks: list[Block]) -> list[list[int]]:
    """For every block those that may come before it, of the ones that are ever reached."""
    before: list[list[int]] = [[] for _ in blocks]
    reached = [0]
    for at in reached:
        for to in blocks[at].next:
            if to not in reached:
                reached.append(to)
            before[to].append(at)
    return before


def dominators(blocks: list[Block], before: list[list[int]]) -> list[set[int]]:
    """For every block those that every way to it from the entry passes, itself among them; none
    for a block that is never reached."""
    known: list[set[int]] = [set() for _ in blocks]
    known[0] = {0}
    changed = True
    while changed:
        changed = False
        for at in range(1, len(blocks)):
            ways = [known[each] for each in before[at] if known[each]]
            new = set.intersection(*ways) | {at} if ways else set()
            if new != known[at]:
                known[at] = new
                changed = True
    return known
