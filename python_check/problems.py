"""Problems: tensors in groups, fixed sequences of gradients, and what happens on the way.

Gradients are given, not computed from the parameters: an objective would feed every rounding back
into its gradients, and what was compared would be two chaotic trajectories.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

import gramstep_c

STEPS = 100
NO_TASK = gramstep_c.SHARED


@dataclass(frozen=True)
class Group:
    """How a group departs from the rule; None: as the rule has it."""

    lr_scale: float = 1.0
    weight_decay: float | None = None
    maximize: bool | None = None
    elementwise: bool = False


@dataclass(frozen=True)
class Tensor:
    """A named tensor, its owner and its group ("" is the default group)."""

    name: str
    shape: tuple[int, ...]
    group: str = ""
    task: int = NO_TASK


# No element, one, and what is around the alignment of 128; odd sizes beyond it.
TENSORS = (
    Tensor("empty", (0, 3)),
    Tensor("scalar", ()),
    Tensor("bias", (127,)),
    Tensor("aligned", (8, 16)),
    Tensor("one more", (129,)),
    Tensor("weight", (7, 191)),
)

GROUPS = {
    "plain": Group(weight_decay=0.0),
    "slow": Group(lr_scale=0.25),
    "ascent": Group(lr_scale=2.0, weight_decay=0.05, maximize=True),
    "descent": Group(maximize=False),
}

GROUPED_TENSORS = (
    Tensor("empty", (0, 3), "slow"),
    Tensor("scalar", (), "plain"),
    Tensor("bias", (127,), "plain"),
    Tensor("aligned", (8, 16), "slow"),
    Tensor("one more", (129,), "ascent"),
    Tensor("weight", (7, 191)),
    Tensor("descending", (33,), "descent"),
    Tensor("late", (130,)),
    Tensor("never", (5,), "slow"),
)

# Matrices of every kind, for rules that treat them apart: stacks, a row, a column, more rows than
# columns and fewer, of no element, and some that are to be taken as none.
MATRIX_GROUPS = {
    **GROUPS,
    "elements": Group(lr_scale=0.5, weight_decay=0.2, elementwise=True),
}

MATRIX_TENSORS = (
    *GROUPED_TENSORS,
    Tensor("stack", (2, 3, 5, 7), "slow"),
    Tensor("cube", (3, 9, 11), "ascent"),
    Tensor("hollow", (2, 0, 3)),
    Tensor("row", (1, 130)),
    Tensor("column", (130, 1), "plain"),
    Tensor("tall", (65, 17)),
    Tensor("one by one", (1, 1), "slow"),
    Tensor("rising", (20, 21), "ascent"),
    Tensor("late matrix", (6, 22)),
    Tensor("embedding", (20, 30), "elements"),
    Tensor("embeddings", (2, 3, 5), "elements"),
)


@dataclass
class Problem:
    """Tensors, where they start, and what every step is given."""

    tensors: tuple[Tensor, ...]
    params: np.ndarray  # [size] fp32, NaN in the padding
    rows: np.ndarray  # [steps, K, shared size] fp32, NaN in the padding
    heads: np.ndarray  # [steps, heads size] fp32, NaN in the padding
    active: np.ndarray  # [steps, tensors]
    lr: np.ndarray  # [steps] factors on the rule's lr
    momentum: np.ndarray | None = None  # [steps] in the place of the rule's momentum or beta1
    groups: dict[str, Group] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.layout = make_layout(self.tensors, self.groups)
        self.places = [self.layout.segment(tensor.name) for tensor in self.tensors]
        self.size, self.shared_size, self.heads_size = self.layout.sizes()

    @property
    def tasks(self) -> int:
        return self.rows.shape[1]

    @property
    def steps(self) -> int:
        return self.rows.shape[0]

    def group(self, tensor: Tensor) -> Group:
        return self.groups[tensor.group] if tensor.group else Group()

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The tensors' shapes as rules take them: flat, where matrices are to be taken as none."""
        flat = [(int(np.prod(tensor.shape)),) for tensor in self.tensors]
        return [
            size if self.group(tensor).elementwise else tensor.shape
            for tensor, size in zip(self.tensors, flat, strict=True)
        ]

    def elements(self, of_tensors: np.ndarray, padding: object) -> np.ndarray:
        """One value a tensor, spread over the flat buffer."""
        spread = np.full(self.size, padding)
        for place, value in zip(self.places, of_tensors, strict=True):
            spread[place] = value
        return spread

    def real(self) -> np.ndarray:
        """Which elements of the flat buffer are no padding."""
        return self.elements(np.ones(len(self.tensors), dtype=bool), False)

    def poison_what_is_missing(self) -> None:
        """Makes NaN of the gradients of tensors that have none in a step: nobody may look there."""
        for step in range(self.steps):
            missing = self.elements(~self.active[step], False)
            self.rows[step, :, missing[: self.shared_size]] = np.nan
            self.heads[step, missing[self.shared_size :]] = np.nan


def make_layout(tensors: tuple[Tensor, ...], groups: dict[str, Group]) -> gramstep_c.Layout:
    """The layout of these tensors."""
    layout = gramstep_c.Layout()
    for name, group in groups.items():
        decay, up = group.weight_decay, group.maximize
        layout.add_group(name, group.lr_scale, decay, up, group.elementwise)
    for tensor in tensors:
        layout.add(tensor.name, tensor.shape, tensor.task, tensor.group or None)
    return layout


def make_problem(
    tensors: tuple[Tensor, ...] = TENSORS,
    groups: dict[str, Group] | None = None,
    tasks: int = 1,
    steps: int = STEPS,
    seed: int = 0,
) -> Problem:
    """Random parameters, some of them zero, and gradients like those of a network.

    Every element's gradients are on a scale of its own, over seven orders of magnitude, and some
    elements never get any.
    """
    random = np.random.default_rng(seed)
    size, shared, _ = make_layout(tensors, groups or {}).sizes()
    params = random.standard_normal(size)
    params[random.random(size) < 0.05] = 0.0
    scale = 10.0 ** random.uniform(-6, 1, size)
    scale[random.random(size) < 0.05] = 0.0
    gradients = scale * random.standard_normal((steps, tasks, size))
    problem = Problem(
        tensors=tensors,
        params=params.astype(np.float32),
        rows=np.ascontiguousarray(gradients[:, :, :shared], dtype=np.float32),
        heads=np.ascontiguousarray(gradients[:, 0, shared:], dtype=np.float32),
        active=np.ones((steps, len(tensors)), dtype=bool),
        lr=np.ones(steps),
        groups=groups or {},
    )
    padding = ~problem.real()
    problem.params[padding] = np.nan
    problem.rows[:, :, padding[:shared]] = np.nan
    problem.heads[:, padding[shared:]] = np.nan
    return problem


def steady_problem() -> Problem:
    """One group, and nothing but steps."""
    return make_problem()


def eventful_problem(
    tensors: tuple[Tensor, ...] = GROUPED_TENSORS, groups: dict[str, Group] = GROUPS
) -> Problem:
    """Several groups; tensors that miss gradients now and then, for long at first, or always.

    And a learning rate that changes, is zero for a while, and then next to nothing.
    """
    problem = make_problem(tensors, groups, seed=1)
    names = [tensor.name for tensor in problem.tensors]
    random = np.random.default_rng(2)
    for name, share in {"scalar": 0.5, "aligned": 0.2, "one more": 0.1, "weight": 0.05}.items():
        problem.active[:, names.index(name)] = random.random(problem.steps) >= share
    problem.active[:40, [name.startswith("late") for name in names]] = False
    problem.active[:, names.index("never")] = False
    problem.lr[30:50] = 0.1
    problem.lr[50:60] = 0.0
    problem.lr[60:70] = 1e-28
    problem.poison_what_is_missing()
    return problem


def matrix_problem() -> Problem:
    """The eventful problem, and matrices of every kind."""
    return eventful_problem(MATRIX_TENSORS, MATRIX_GROUPS)


def random_rows(random: np.random.Generator, tasks: int, size: int) -> np.ndarray:
    return random.standard_normal((tasks, size))


def conflicting_rows(random: np.random.Generator, tasks: int, size: int) -> np.ndarray:
    """Nearly the corners of a simplex: as much in conflict with each other as K rows can be."""
    rows = random.standard_normal((tasks, size))
    return rows - 0.99 * rows.mean(axis=0)


def deficient_rows(random: np.random.Generator, tasks: int, size: int) -> np.ndarray:
    """Rank 2 at most: two rows the same, two opposite, one zero, the others between them."""
    rows = random.standard_normal((tasks, 2)) @ random.standard_normal((2, size))
    rows[-1] = -rows[0]
    if tasks > 2:
        rows[1] = rows[0]
    if tasks > 3:
        rows[2] = 0.0
    return rows


def unbalanced_rows(random: np.random.Generator, tasks: int, size: int) -> np.ndarray:
    """Norms spread over twelve orders of magnitude."""
    return np.geomspace(1e-6, 1e6, tasks)[:, None] * random.standard_normal((tasks, size))


ROWS = {
    "random": random_rows,
    "conflicting": conflicting_rows,
    "deficient": deficient_rows,
    "unbalanced": unbalanced_rows,
}


def task_problem(kind: str, tasks: int, steps: int = 3) -> Problem:
    """A problem whose rows are of that kind in every step."""
    problem = make_problem(tasks=tasks, steps=steps, seed=tasks)
    random = np.random.default_rng(tasks)
    real = problem.real()[: problem.shared_size]
    for step in range(steps):
        problem.rows[step][:, real] = ROWS[kind](random, tasks, int(real.sum()))
    return problem
