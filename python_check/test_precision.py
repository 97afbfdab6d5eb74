"""Training with parameters, gradients and state of 16 and of 8 bits, beside torch's recipes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from digits import Network
from failures import assert_raises
from gramstep_aggregation import Aggregation
from gramstep_c import DType, Master, Optimizer, Precision, Rounding

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
STEPS = 150
UNIT = 2.0**-24  # fp32's unit roundoff
LR = 1e-2

RULES: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD(lr=0.01, momentum=0.9)": lambda p: torch.optim.SGD(p, lr=LR, momentum=0.9),
    "AdamW(lr=0.01)": lambda p: torch.optim.AdamW(p, lr=LR),
    "Adagrad(lr=0.01)": lambda p: torch.optim.Adagrad(p, lr=LR),
    "RMSprop(lr=0.01)": lambda p: torch.optim.RMSprop(p, lr=LR),
}


@pytest.fixture(scope="module")
def network() -> Network:
    return Network()


def seen(memory: Any) -> torch.Tensor:
    """A state buffer as torch has it."""
    values = torch.from_numpy(np.asarray(memory))
    return values.view(BF16) if memory.dtype == DType.BFLOAT16 else values


def bound(params: torch.Tensor, steps: int) -> torch.Tensor:
    """How far two fp32 runs with the same gradients may be apart: every step rounds the parameter
    twice, and the update, at most a few learning rates, some sixteen times, on either side; both
    carry on what the other steps have left."""
    return 2 * steps * UNIT * (2 * params.abs().max() + 16 * 4 * LR)


def precision(**fields: int) -> Precision:
    return Precision(**fields)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("params_type", [BF16, FP16])
def test_masters_are_those_kept_by_hand(rule: str, params_type: Any, network: Network) -> None:
    """Mixed precision's recipe: an fp32 copy takes the step, and parameters are its rounding."""
    name = DType.BFLOAT16 if params_type == BF16 else DType.FLOAT16
    kept = precision(params=name, gradients=name, master=Master.FLOAT32)
    optimizer = Optimizer(network.layout, rule, precision=kept)
    params = network.initial(1).to(params_type)
    by_hand = params.float().requires_grad_()
    theirs = RULES[rule]([by_hand])
    for batch in network.batches(STEPS):
        gradient = network.gradient(params, batch)
        optimizer.step(params, [gradient])
        by_hand.grad = gradient.float()
        theirs.step()
        master = seen(optimizer.stored_state("master"))
        used = network.used()
        assert torch.equal(params[used], master[used].to(params_type))
    difference = (master - by_hand.detach())[used].abs()
    assert (difference <= bound(by_hand, STEPS)).all()
    assert network.loss(params, batch) < 0.5  # it learned


@pytest.mark.parametrize("rule", RULES)
def test_remainders_make_the_master(rule: str, network: Network) -> None:
    """A parameter and its 16 bits more are the master that fp32 would have, bit for bit."""
    runs = []
    for master in (Master.FLOAT32, Master.REMAINDER):
        kept = precision(params=DType.BFLOAT16, gradients=DType.BFLOAT16, master=master)
        optimizer = Optimizer(network.layout, rule, precision=kept)
        params = network.initial(1).to(BF16)
        runs.append((optimizer, params))
    used = network.used()
    for batch in network.batches(STEPS):
        gradient = network.gradient(runs[0][1], batch)
        for optimizer, params in runs:
            optimizer.step(params, [gradient])
    master = seen(runs[0][0].stored_state("master"))[used]
    upper = runs[1][1][used].float().view(torch.int32)
    whole = upper + seen(runs[1][0].stored_state("remainder"))[used].int()
    assert torch.equal(whole, master.view(torch.int32))


def test_everything_in_bf16_is_torchs_fused_step_rounded(network: Network) -> None:
    """torch's fused AdamW works in fp32 and rounds parameters and moments once, as gramstep does:
    from the same state no number is more than one rounding away."""
    kept = precision(params=DType.BFLOAT16, gradients=DType.BFLOAT16, states=DType.BFLOAT16)
    optimizer = Optimizer(network.layout, "AdamW(lr=0.01)", precision=kept)
    params, used = network.initial(2).to(BF16), network.used()
    for step, batch in enumerate(network.batches(60)):
        gradient, before = network.gradient(params, batch), params.clone()
        leaf = params.clone().requires_grad_()
        theirs = torch.optim.AdamW([leaf], lr=LR, fused=True)
        states = {n: seen(optimizer.stored_state(n)).clone() for n in ("exp_avg", "exp_avg_sq")}
        old = {name: values.clone() for name, values in states.items()}
        theirs.state[leaf] = {"step": torch.tensor(float(step)), **states}
        leaf.grad = gradient
        theirs.step()
        optimizer.step(params, [gradient])
        pairs = {"params": (params, leaf.detach(), before)}
        for name, values in states.items():
            pairs[name] = (seen(optimizer.stored_state(name)), values, old[name])
        for name, (got, expected, terms) in pairs.items():
            got, expected = got.double()[used], expected.double()[used]
            terms = terms.double().abs()[used] + gradient.double().abs()[used]
            # A place of bf16; what fp32 has left of numbers that cancel; and what it flushes.
            limit = 2.0**-7 * expected.abs() + 16 * UNIT * terms + 2.0**-126
            assert ((got - expected).abs() <= limit).all(), name
            assert (got != expected).double().mean() < 0.02, name


@pytest.mark.parametrize("params_type", [BF16, FP32])
def test_gradients_of_float16_under_a_grad_scaler(params_type: Any, network: Network) -> None:
    """torch.amp's protocol: scaled gradients of fp16, one of which overflows in mid-run."""
    name = DType.BFLOAT16 if params_type == BF16 else DType.FLOAT32
    master = Master.FLOAT32 if params_type == BF16 else Master.NONE
    kept = precision(params=name, gradients=DType.FLOAT16, master=master)
    optimizer = Optimizer(network.layout, "AdamW(lr=0.01)", precision=kept)
    params = network.initial(3).to(params_type)
    by_hand = params.float().requires_grad_()
    theirs = torch.optim.AdamW([by_hand], lr=LR)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step, batch in enumerate(network.batches(STEPS)):
        scaled = network.gradient(params.float(), batch) * scaler.get_scale()
        if step == 70:
            scaled[5] = 1e6
        gradient = scaled.to(FP16)
        before = params.clone()
        scale = torch.tensor([scaler.get_scale()])
        found = torch.tensor([0.0 if gradient.isfinite().all() else 1.0])
        optimizer.step(params, [gradient], grad_scale=scale, found_inf=found)
        by_hand.grad = gradient.float()
        scaler.scale(torch.zeros(()))  # as a loss would: it makes the scale
        scaler.step(theirs)
        scaler.update()
        assert torch.equal(params, before) == (step == 70)
    ours = seen(optimizer.stored_state("master")) if params_type == BF16 else params
    used = network.used()
    assert ((ours - by_hand.detach())[used].abs() <= bound(by_hand, STEPS)).all()
    assert optimizer.report().numbers.skipped_steps == 1


def final_losses(network: Network, kept: Precision, seeds: range) -> np.ndarray:
    """The loss over all scans after a training run a seed."""
    everything, losses = torch.arange(len(network.labels)), []
    for seed in seeds:
        optimizer = Optimizer(network.layout, "AdamW(lr=0.003)", precision=kept)
        params = network.initial(seed)
        for batch in network.batches(400, seed):
            optimizer.step(params, [network.gradient(params, batch)])
        losses.append(network.loss(params, everything).item())
    return np.array(losses)


@pytest.mark.parametrize("states", [DType.BFLOAT16, DType.DYNAMIC8])
def test_narrow_moments_train_as_fp32s(states: DType, network: Network) -> None:
    """Runs with moments of 16 and of 8 bits, rounded at random, end within the spread of fp32's
    seeds. To nearest, a second moment that a step changes by less than half a code stays."""
    wide = final_losses(network, precision(), range(6))
    kept = precision(states=states, rounding=Rounding.STOCHASTIC, seed=1)
    narrow = final_losses(network, kept, range(6))
    assert wide.min() <= narrow.mean() <= wide.max()
    assert abs(narrow.mean() - wide.mean()) <= 2 * wide.std()


def test_stochastic_rounding_keeps_the_mean(network: Network) -> None:
    """What bf16 parameters lose to rounding to nearest arrives on average: 2^17 parameters take 50
    steps of 2^-13 from 1, where an ulp is 2^-8. Each walk's variance is at most 50 times ulp times
    step; six of the mean's standard deviations are passed by chance once in 5 * 10^8 runs."""
    layout = type(network.layout)()
    layout.add("weight", (1 << 17,))
    kept = precision(params=DType.BFLOAT16, rounding=Rounding.STOCHASTIC, seed=7)
    optimizer = Optimizer(layout, "SGD(lr=1)", precision=kept)
    params, gradient = torch.ones(1 << 17, dtype=BF16), torch.full((1 << 17,), 2.0**-13)
    for _ in range(50):
        optimizer.step(params, [gradient])
    sigma = (50 * 2.0**-8 * 2.0**-13 / (1 << 17)) ** 0.5
    assert abs(params.double().mean().item() - (1 - 50 * 2.0**-13)) <= 6 * sigma


def test_outputs_and_micro_batches(network: Network) -> None:
    """A copy of the parameters in bf16, a delta as optax' updates, an average as torch's
    AveragedModel keeps it, gradients gathered from bf16 micro-batches and left at zero."""
    optimizer = Optimizer(
        network.layout, "AdamW(lr=0.01)", ema_decay=0.9, zero_gradients=1, threads=2
    )
    params, used = network.initial(4), network.used()
    average = torch.zeros(network.size)
    row, copy = torch.zeros(network.size), torch.zeros(network.size, dtype=BF16)
    for step, batch in enumerate(network.batches(20)):
        micro = [network.gradient(params.to(BF16), part) for part in batch.chunk(4)]
        expected = torch.zeros(network.size)
        for each in micro:
            optimizer.accumulate(row, each, 0.25)
            expected += 0.25 * each.float()
        assert torch.equal(row, expected)
        optimizer.step_with_outputs(params, [row], copy=copy)
        assert not row[used].any()
        assert torch.equal(copy[used], params[used].to(BF16))
        average = params.clone() if step == 0 else average.lerp(params, 1 - 0.9)
    ema = seen(optimizer.stored_state("ema"))
    # A step of the average rounds three times on either side; what is left of it fades.
    limit = 6 * UNIT * params.abs().max() / (1 - 0.9)
    assert ((ema - average)[used].abs() <= limit).all()
    before, delta = params.clone(), torch.zeros(network.size)
    row.copy_(expected)
    optimizer.step_with_outputs(params, [row], delta=delta)
    assert torch.equal(params, before)
    assert delta[used].any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("gradient_type", [BF16, FP16])
def test_gradients_that_are_not_finite_skip_the_step(
    bad: float, gradient_type: Any, network: Network
) -> None:
    name = DType.BFLOAT16 if gradient_type == BF16 else DType.FLOAT16
    kept = precision(params=DType.BFLOAT16, gradients=name, master=Master.REMAINDER)
    optimizer = Optimizer(network.layout, "AdamW", precision=kept, clip_norm=1.0)
    params = network.initial(5).to(BF16)
    gradient = network.gradient(params, network.batches(1)[0]).to(gradient_type)
    optimizer.step(params, [gradient])
    names = optimizer.state_names()
    before = [params.clone(), *(seen(optimizer.stored_state(n)).clone() for n in names)]
    gradient[7] = bad
    optimizer.step(params, [gradient])
    after = [params, *(seen(optimizer.stored_state(n)) for n in names)]
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one.view(torch.int16), other.view(torch.int16))


@pytest.mark.parametrize("rows_type", [BF16, FP16])
def test_aggregation_of_narrow_rows(rows_type: Any) -> None:
    """Products of 16-bit numbers are exact in fp32; sums have at most 1024 terms in it."""
    generator = torch.Generator().manual_seed(6)
    rows = torch.randn(5, 10_007, generator=generator).to(rows_type)
    name = DType.BFLOAT16 if rows_type == BF16 else DType.FLOAT16
    aggregation = Aggregation("Sum", 5, 10_007, gradients=name)
    got = aggregation.gram(list(rows))
    exact, norms = (rows.double() @ rows.double().T).numpy(), rows.double().norm(dim=1).numpy()
    assert (np.abs(got - exact) <= 1024 * UNIT * np.outer(norms, norms)).all()
    weights = np.array([1.0, -2.0, 0.5, 0.25, 3.0])
    combined = aggregation.combine(list(rows), weights)
    expected = weights @ rows.double().numpy()
    magnitudes = np.abs(weights) @ np.abs(rows.double().numpy())
    assert (np.abs(combined - expected) <= 10 * UNIT * magnitudes).all()


BAD = [
    ({"master": Master.FLOAT32}, ["precision.master", "float32"]),
    ({"params": DType.FLOAT16, "master": Master.REMAINDER}, ["master", "remainder", "bfloat16"]),
    ({"params": 9}, ["precision.params", "got 9"]),
    ({"gradients": DType.DYNAMIC8}, ["precision.gradients", "got 4", "GRAMSTEP_BFLOAT16"]),
    ({"states": DType.INT16}, ["precision.states", "got 3", "GRAMSTEP_DYNAMIC8"]),
    ({"master": 7}, ["precision.master", "got 7"]),
    ({"rounding": -1}, ["precision.rounding", "got -1"]),
    ({"states": DType.FLOAT16}, ["precision.states", "float16"]),
    ({"rounding": Rounding.KAHAN}, ["precision.rounding", "kahan"]),
]


@pytest.mark.parametrize(("fields", "words"), BAD, ids=str)
def test_precisions_that_make_no_sense(
    fields: dict[str, int], words: list[str], network: Network
) -> None:
    kept = precision(**fields)
    assert_raises(lambda: Optimizer(network.layout, "AdamW", precision=kept), *words)


@pytest.mark.parametrize("rule", ["SGD", "Muon", "Adafactor", "ScheduleFreeAdamW"])
def test_narrow_state_of_rules_without_moments(rule: str, network: Network) -> None:
    for states in (DType.BFLOAT16, DType.DYNAMIC8):
        kept = precision(states=states)
        words = ("precision.states", "moments")
        assert_raises(lambda k=kept: Optimizer(network.layout, rule, precision=k), *words)
