"""The same problem by gramstep, by torch.optim, and over bounded arrays, recorded step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

import gramstep_c
from bounded import Bounded, given, where
from gramstep_c import Report
from problems import Problem
from rule_steps import StepNumbers, bounded_step
from rules import OF_MATRICES, SCHEDULE_FREE, Rule

# Copies of the flat buffers of parameters ("param") and state, by torch.optim's name.
States = dict[str, np.ndarray]

# The same after each step: [steps, size of the flat buffer]. State that is kept by row or by column
# stands at every element of it.
Trajectory = dict[str, np.ndarray]

Shape = tuple[int, ...]


def trajectory_of(steps: Sequence[States]) -> Trajectory:
    """What was held after each step, by name."""
    return {name: np.stack([states[name] for states in steps]) for name in steps[0]}


def to_host(tensor: torch.Tensor) -> np.ndarray:
    """A copy in host memory."""
    return tensor.detach().cpu().numpy().copy()


def part(values: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """What is kept by row or by column, of what stands at every element."""
    return values[tuple(slice(size) for size in shape)]


def to_device(values: np.ndarray, device: str) -> torch.Tensor:
    """A copy of values in memory of that device."""
    return torch.tensor(values, device=device)


def c_device(device: str) -> gramstep_c.Device:
    return gramstep_c.Device[device.upper()]


class GramstepRun:
    """An optimizer on a problem, with memory of its own for parameters and gradients."""

    def __init__(
        self, problem: Problem, rule: Rule, device: str, shift: int = 0, **options: Any
    ) -> None:
        """shift: by how many elements memory begins beyond an address that the allocator gave."""
        self.problem, self.rule = problem, rule
        self.device = device
        self.shift = shift
        self.lr = float(rule["lr"])
        self.scheduled = "schedule" in options or "warmup_steps" in options
        self.active = np.ones(len(problem.tensors), dtype=bool)
        options = {
            "tasks": problem.tasks,
            "device": c_device(device),
            **options,
        }
        self.optimizer = gramstep_c.Optimizer(problem.layout, rule.text(), **options)
        self.params = self.put(problem.params)

    def put(self, values: np.ndarray) -> torch.Tensor:
        """A copy in the optimizer's kind of memory."""
        memory = torch.empty(self.shift + values.size, dtype=torch.float32, device=self.device)
        memory[self.shift :] = torch.tensor(values)
        return memory[self.shift :]

    def step(self, step: int, gradient_scale: float = 1.0, **scaling: Any) -> None:
        """Takes one step of the problem, its gradients multiplied by gradient_scale; the learning
        rate is the problem's, unless the optimizer has a schedule. scaling: see Optimizer.step."""
        problem = self.problem
        if not self.scheduled:
            self.optimizer.set_lr(float(problem.lr[step] * self.lr))
        for index in np.flatnonzero(self.active != problem.active[step]):
            self.active[index] = not self.active[index]
            self.optimizer.set_active(problem.tensors[index].name, bool(self.active[index]))
        scale = np.float32(gradient_scale)
        rows = [self.put(row * scale) for row in problem.rows[step]]
        self.optimizer.step(self.params, rows, self.put(problem.heads[step] * scale), **scaling)

    def state(self, name: str) -> np.ndarray:
        """Parameters ("param") or a state buffer, copied to the host."""
        if name == "param":
            return to_host(self.params)
        if self.rule.name not in OF_MATRICES:
            return to_host(self.view(self.optimizer.state(name)))
        flat = np.zeros(self.problem.size, np.float32)
        for memory, place, shape, kept in self.pieces(name):
            flat[place] = np.broadcast_to(to_host(memory).reshape(kept), shape).ravel()
        return flat

    def view(self, memory: Any) -> torch.Tensor:
        """The optimizer's memory as a tensor."""
        own = np.asarray(memory) if self.device == "cpu" else memory
        return torch.as_tensor(own, device=self.device)

    def pieces(self, name: str) -> Iterator[tuple[torch.Tensor, slice, Shape, Shape]]:
        """State that is kept by segment: its memory, where its segment is, and both shapes."""
        problem = self.problem
        for tensor, place, shape in zip(
            problem.tensors, problem.places, problem.shapes, strict=True
        ):
            kept = self.rule.state_shapes(shape)
            if name in kept:
                memory = self.view(self.optimizer.state_of(name, tensor.name))
                yield memory, place, shape, kept[name]

    def set_state(self, name: str, values: np.ndarray) -> None:
        """Replaces parameters ("param") or a state buffer; not its padding."""
        new = torch.from_numpy(values).to(self.device)
        if name != "param" and self.rule.name in OF_MATRICES:
            for memory, place, shape, kept in self.pieces(name):
                memory.copy_(part(new[place].view(shape), kept).flatten())
            return
        memory = self.params if name == "param" else self.view(self.optimizer.state(name))
        real = torch.from_numpy(self.problem.real()).to(self.device)
        memory[real] = new[real]

    def states(self) -> States:
        """Parameters and all state."""
        return {name: self.state(name) for name in ["param", *self.optimizer.state_names()]}


def run_gramstep(problem: Problem, rule: Rule, device: str, **options: Any) -> Trajectory:
    """gramstep's run."""
    run, steps = GramstepRun(problem, rule, device, **options), []
    for step in range(problem.steps):
        run.step(step)
        steps.append(run.states())
    return trajectory_of(steps)


def aggregator_run(problem: Problem, device: str, aggregator: str, **options: Any) -> GramstepRun:
    """A run in which the aggregator, given as text, is what matters."""
    return GramstepRun(problem, Rule("SGD"), device, aggregator=aggregator, **options)


def take_all_steps(run: GramstepRun) -> list[Report]:
    """What is reported of each step of the problem."""
    found = []
    for step in range(run.problem.steps):
        run.step(step)
        found.append(run.optimizer.report())
    return found


class TorchRun:
    """A torch optimizer on a problem, its parameters views of one flat buffer."""

    def __init__(
        self, problem: Problem, rule: Rule, dtype: torch.dtype, device: str = "cpu", **how: bool
    ) -> None:
        self.problem, self.rule = problem, rule
        self.flat = torch.from_numpy(problem.params).to(device, dtype, copy=True)
        self.params = [
            self.flat[place].view(shape).requires_grad_()
            for place, shape in zip(problem.places, problem.shapes, strict=True)
        ]
        options, groups = rule.torch_options(dtype), []
        for tensor, parameter in zip(problem.tensors, self.params, strict=True):
            group = problem.group(tensor)
            settings: dict[str, Any] = {
                "params": [parameter],
                "lr": group.lr_scale * options.get("lr", rule["lr"]),
            }
            if rule.name in SCHEDULE_FREE:
                settings["train_mode"] = True
            if group.weight_decay is not None:
                settings["weight_decay"] = group.weight_decay
            if group.maximize is not None:
                settings["maximize"] = group.maximize
            groups.append(settings)
        self.optimizer = rule.torch_class()(groups, **options, **how)

    def set_gradients(self, step: int, gradient: np.ndarray) -> None:
        """Gives every tensor that has a gradient in this step its part of a flat gradient."""
        flat = torch.tensor(gradient, device=self.flat.device, dtype=self.flat.dtype)
        for index, parameter in enumerate(self.params):
            place = self.problem.places[index]
            has = self.problem.active[step, index] and self.takes(parameter)
            parameter.grad = flat[place].view(parameter.shape) if has else None

    def takes(self, parameter: torch.Tensor) -> bool:
        """Whether torch can step such a tensor: its Adafactor divides by the number of elements."""
        return self.rule.name != "Adafactor" or parameter.numel() > 0

    def set_lr(self, step: int) -> None:
        """Sets every group's learning rate for this step."""
        for tensor, group in zip(self.problem.tensors, self.optimizer.param_groups, strict=True):
            scale = self.problem.group(tensor).lr_scale
            lr = float(self.problem.lr[step] * self.rule["lr"]) * scale
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr

    def set_states(self, states: States) -> None:
        """Overwrites parameters and what state torch has made."""
        for name, values in states.items():
            flat = torch.from_numpy(values).to(self.flat.device, self.flat.dtype)
            if name == "param":
                self.flat.copy_(flat)
                continue
            for parameter, place in zip(self.params, self.problem.places, strict=True):
                state = self.optimizer.state.get(parameter, {}).get(name)
                if state is not None:
                    state.copy_(part(flat[place].view(parameter.shape), state.shape))

    def states(self) -> States:
        """Parameters and state as flat buffers; zero where torch has made no state yet."""
        found = {"param": to_host(self.flat)}
        for name in self.rule.state_names():
            found[name] = np.zeros(self.problem.size, dtype=found["param"].dtype)
            for parameter, place in zip(self.params, self.problem.places, strict=True):
                state = self.optimizer.state.get(parameter, {}).get(name)
                if state is not None:
                    found[name][place] = to_host(state.expand_as(parameter)).ravel()
        return found


def run_torch(
    problem: Problem,
    rule: Rule,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    gradients: Sequence[np.ndarray] | None = None,
    resume: Trajectory | None = None,
    before_step: Callable[[TorchRun], None] = lambda run: None,
    **how: bool,
) -> Trajectory:
    """torch.optim's run.

    gradients: flat ones, instead of the problem's only row and heads. resume: another's trajectory,
    from whose parameters and state every single step starts.
    """
    with default_dtype(dtype):
        return recorded_torch(
            TorchRun(problem, rule, dtype, device, **how), gradients, resume, before_step
        )


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """In which torch.optim keeps its counts and products, float32 unless float64 is default."""
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def recorded_torch(
    run: TorchRun,
    gradients: Sequence[np.ndarray] | None,
    resume: Trajectory | None,
    before_step: Callable[[TorchRun], None],
) -> Trajectory:
    """What a run of torch.optim holds after each step; see run_torch."""
    problem, rule, steps = run.problem, run.rule, []
    started = None if resume is None else before_each(resume, problem, rule)
    for step, gradient in enumerate(single_gradients(problem) if gradients is None else gradients):
        if started is not None:
            run.set_states({name: values[step] for name, values in started.items()})
        run.set_gradients(step, gradient)
        run.set_lr(step)
        before_step(run)
        run.optimizer.step()
        steps.append(run.states())
    return trajectory_of(steps)


def single_gradients(problem: Problem) -> Iterator[np.ndarray]:
    """The flat gradients of a problem with one task."""
    for row, heads in zip(problem.rows[:, 0], problem.heads, strict=True):
        yield np.concatenate([row, heads])


def before_each(trajectory: Trajectory, problem: Problem, rule: Rule) -> Trajectory:
    """What every step of a trajectory started from."""
    return {
        name: np.concatenate([at_first(problem, rule, name)[None], values[:-1]], dtype=values.dtype)
        for name, values in trajectory.items()
    }


def at_first(problem: Problem, rule: Rule, name: str) -> np.ndarray:
    """Parameters ("param") or a state buffer before the first step."""
    if name == "param":
        return problem.params
    return np.full(problem.size, rule.initial(name), np.float32)


def bounded_steps(
    problem: Problem,
    rule: Rule,
    trajectory: Trajectory,
    gradients: Bounded | None = None,
    steps_before: int = 0,
    start: States | None = None,
) -> dict[str, Bounded]:
    """Every step on its own over bounded arrays [steps, size], from what a run held before it.

    gradients: [steps, size], instead of the problem's only row and heads. steps_before: how many
    steps every tensor took before the first. start: the state before it, instead of a fresh one.
    """
    tensors = problem.tensors
    g = given(np.stack(list(single_gradients(problem)))) if gradients is None else gradients
    used = np.stack([problem.elements(active, False) for active in problem.active])
    sign = problem.elements(
        [-1.0 if pick(problem.group(t).maximize, rule["maximize"]) else 1.0 for t in tensors], 1.0
    )
    g = Bounded(np.where(used, g.value, 0.0) * sign, np.where(used, g.error, 0.0))
    lr_scale = problem.elements([problem.group(tensor).lr_scale for tensor in tensors], 1.0)
    taken = steps_before + np.cumsum(problem.active, axis=0)
    numbers = StepNumbers(
        lr=problem.lr[:, None] * float(rule["lr"]) * lr_scale,
        weight_decay=problem.elements(
            [pick(problem.group(t).weight_decay, rule["weight_decay"]) for t in tensors], 0.0
        ),
        t=np.stack([problem.elements(np.maximum(row, 1), 1) for row in taken]),
        used=used,
        places=problem.places,
        shapes=problem.shapes,
        momentum=None if problem.momentum is None else problem.momentum[:, None],
    )
    before = before_each(trajectory, problem, rule)
    for name, values in (start or {}).items():
        before[name][0] = values
    held = {n: given(np.where(problem.real(), values, 0.0)) for n, values in before.items()}
    p = held.pop("param")
    after_p, after_state = bounded_step(rule, numbers, g, p, held)
    steps = {"param": where(used, after_p, p)}
    for name, state in held.items():
        steps[name] = where(used, after_state[name], state)
    return steps


def pick(own: Any, rules: Any) -> Any:
    """A group's own setting, or else the rule's."""
    return rules if own is None else own
