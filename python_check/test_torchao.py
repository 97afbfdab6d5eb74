"""Parameters of bf16 and state of 8 bits beside torchao's optimizers, which keep the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from digits import SHAPES, Network
from gramstep_c import DType, Optimizer, Precision, Rounding

torchao = pytest.importorskip("torchao.optim")

BF16 = torch.bfloat16
LR = 3e-3
STEPS = 200
SEEDS = range(4)
UNIT = 2.0**-24  # fp32's unit roundoff


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    """torchao compiles its step for every shape; the arithmetic is the same without."""
    torch.compiler.set_stance("force_eager")
    yield
    torch.compiler.set_stance("default")


@pytest.fixture(scope="module")
def network() -> Network:
    return Network()


class Theirs:
    """One of torchao's optimizers over the network's tensors."""

    def __init__(self, network: Network, make: Callable[[Any], Any], params: torch.Tensor) -> None:
        self.network, self.params = network, params
        self.tensors = {
            name: torch.nn.Parameter(params[place].view(SHAPES[name]).clone())
            for name, place in network.places.items()
        }
        self.optimizer = make(list(self.tensors.values()))

    def step(self, gradient: torch.Tensor) -> None:
        for name, place in self.network.places.items():
            self.tensors[name].grad = gradient[place].view(SHAPES[name])
        self.optimizer.step()
        for name, place in self.network.places.items():
            self.params[place] = self.tensors[name].detach().flatten()


class Ours:
    """AdamW with a precision of its own."""

    def __init__(self, network: Network, kept: Precision, params: torch.Tensor) -> None:
        self.optimizer = Optimizer(network.layout, f"AdamW(lr={LR})", precision=kept)
        self.params = params

    def step(self, gradient: torch.Tensor) -> None:
        self.optimizer.step(self.params, [gradient])


def bf16_theirs(params: Any) -> Any:
    return torchao._AdamW(params, lr=LR, bf16_stochastic_round=True)


def bf16_ours(seed: int) -> Precision:
    return Precision(
        params=DType.BFLOAT16,
        gradients=DType.BFLOAT16,
        rounding=Rounding.STOCHASTIC,
        seed=seed,
    )


def test_both_round_a_bf16_parameter_to_a_neighbour(network: Network) -> None:
    """Up or down at random, by other draws: from the same parameters none is further from the fp32
    step than the next bf16 number, on either side of it, and both go up as often."""
    start = network.initial(1).to(BF16)
    gradient = network.gradient(start, network.batches(1)[0])
    exact = start.float().requires_grad_()
    exact.grad = gradient.float()
    torch.optim.AdamW([exact], lr=LR).step()
    between = exact.detach()
    used = network.used() & (between != between.to(BF16).float())
    ups = []
    for run in (
        Ours(network, bf16_ours(7), start.clone()),
        Theirs(network, bf16_theirs, start.clone()),
    ):
        run.step(gradient)
        moved = run.params.float() - between
        place = 2.0 ** (torch.frexp(between).exponent - 8).float()  # an ulp of bf16
        assert (moved.abs() <= place * (1 + 2.0**-10))[used].all()
        ups.append((moved[used] > 0).double().mean().item())
    # The expected share is the same; six standard deviations of a difference of two means.
    assert abs(ups[0] - ups[1]) <= 6 * (2 * 0.25 / int(used.sum())) ** 0.5


def test_the_first_step_with_8_bits_is_theirs(network: Network) -> None:
    """From a state of zeros the step is fp32's, whatever the moments are stored as. torchao takes
    the bias corrections in fp32, in which 1 - 0.999 is wrong by half a unit of 1, and its root by
    half as much of itself."""
    start = network.initial(2)
    gradient = network.gradient(start, network.batches(1)[0])
    runs = (
        Ours(network, Precision(states=DType.DYNAMIC8), start.clone()),
        Theirs(network, lambda p: torchao.AdamW8bit(p, lr=LR), start.clone()),
    )
    for run in runs:
        run.step(gradient)
    used = network.used()
    difference = (runs[0].params - runs[1].params)[used].abs()
    corrections = 0.5 / (1 - 0.999) + 1 / (1 - 0.9)
    limit = UNIT * (4 * start.abs()[used] + (corrections + 32) * LR)
    assert (difference <= limit).all()


def losses(network: Network, make: Callable[[int, torch.Tensor], Any], dtype: Any) -> np.ndarray:
    """The loss over all scans after a training run a seed."""
    everything, found = torch.arange(len(network.labels)), []
    for seed in SEEDS:
        run = make(seed, network.initial(seed).to(dtype))
        for batch in network.batches(STEPS, seed):
            run.step(network.gradient(run.params, batch))
        found.append(network.loss(run.params.float(), everything).item())
    return np.array(found)


def assert_trains_alike(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Same seeds, same images: the seeds' differences have a mean within three of its errors, or
    within what the seeds differ by among themselves."""
    difference = ours - theirs
    error = difference.std(ddof=1) / len(difference) ** 0.5
    assert abs(difference.mean()) <= max(3 * error, theirs.std(ddof=1)), (ours, theirs)


def test_training_in_bf16_ends_where_theirs_does(network: Network) -> None:
    ours = losses(network, lambda seed, p: Ours(network, bf16_ours(seed), p), BF16)
    theirs = losses(network, lambda _, p: Theirs(network, bf16_theirs, p), BF16)
    assert_trains_alike(ours, theirs)


def test_training_with_8_bits_ends_where_theirs_does(network: Network) -> None:
    def make(seed: int, params: torch.Tensor) -> Ours:
        kept = Precision(states=DType.DYNAMIC8, rounding=Rounding.STOCHASTIC, seed=seed)
        return Ours(network, kept, params)

    ours = losses(network, make, torch.float32)

    def make_theirs(_: int, params: torch.Tensor) -> Theirs:
        return Theirs(network, lambda p: torchao.AdamW8bit(p, lr=LR), params)

    theirs = losses(network, make_theirs, torch.float32)
    assert_trains_alike(ours, theirs)
