"""Rules, schedules, scales and state that are wrong: a clear message, and nothing changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gramstep_c
from failures import OUT_OF_RANGE, assert_fails, assert_raises
from gramstep_c import GramstepError, NonFinite, Optimizer, Status, full_text, named, names_of
from problems import make_problem
from rules import Rule
from test_clip_and_scale import bits
from trajectories import GramstepRun, c_device

NAN, INF = float("nan"), float("inf")
BELOW_ONE = [*OUT_OF_RANGE, 1.0]
NOT_FINITE = [NAN, INF, -INF]
POWERS = [*OUT_OF_RANGE, 16.0]
COUNTS = [-1]

# Every option of every rule that has a range, and what is out of it.
RANGES: dict[str, dict[str, list[float]]] = {
    "SGD": dict.fromkeys(["lr", "momentum", "dampening", "weight_decay"], OUT_OF_RANGE),
    "Adam": dict.fromkeys(["lr", "epsilon", "weight_decay"], OUT_OF_RANGE)
    | dict.fromkeys(["beta1", "beta2"], BELOW_ONE),
    "RAdam": dict.fromkeys(["lr", "epsilon", "weight_decay"], OUT_OF_RANGE)
    | dict.fromkeys(["beta1", "beta2"], BELOW_ONE),
    "NAdam": dict.fromkeys(["lr", "epsilon", "weight_decay"], OUT_OF_RANGE)
    | dict.fromkeys(["beta1", "beta2"], BELOW_ONE)
    | {"momentum_decay": [*OUT_OF_RANGE, 1e4]},
    "Adamax": dict.fromkeys(["lr", "epsilon", "weight_decay"], OUT_OF_RANGE)
    | dict.fromkeys(["beta1", "beta2"], BELOW_ONE),
    "Adagrad": dict.fromkeys(
        ["lr", "lr_decay", "epsilon", "initial_accumulator_value", "weight_decay"], OUT_OF_RANGE
    ),
    "Adadelta": dict.fromkeys(["lr", "epsilon", "weight_decay"], OUT_OF_RANGE) | {"rho": BELOW_ONE},
    "RMSprop": dict.fromkeys(["lr", "epsilon", "momentum", "weight_decay"], OUT_OF_RANGE)
    | {"alpha": BELOW_ONE},
    "Lion": dict.fromkeys(["lr", "weight_decay"], OUT_OF_RANGE)
    | dict.fromkeys(["beta1", "beta2"], BELOW_ONE),
    "AdEMAMix": dict.fromkeys(["lr", "alpha", "epsilon", "weight_decay"], OUT_OF_RANGE)
    | dict.fromkeys(["beta1", "beta2", "beta3"], BELOW_ONE)
    | dict.fromkeys(["alpha_warmup", "beta3_warmup"], COUNTS),
    "LAMB": dict.fromkeys(["lr", "epsilon", "weight_decay"], OUT_OF_RANGE)
    | dict.fromkeys(["beta1", "beta2"], BELOW_ONE),
    "LARS": dict.fromkeys(
        ["lr", "momentum", "weight_decay", "trust_coefficient", "epsilon"], OUT_OF_RANGE
    ),
    "ScheduleFreeSGD": dict.fromkeys(["lr", "weight_decay"], OUT_OF_RANGE)
    | dict.fromkeys(["r", "weight_lr_power"], POWERS)
    | {"momentum": [*BELOW_ONE, 0.0]},
    "ScheduleFreeAdamW": dict.fromkeys(["lr", "epsilon", "weight_decay"], OUT_OF_RANGE)
    | dict.fromkeys(["r", "weight_lr_power"], POWERS)
    | {"beta1": [*BELOW_ONE, 0.0], "beta2": BELOW_ONE},
}
RANGES["AdamW"] = RANGES["Adam"]
RANGES["Adafactor"] = dict.fromkeys(["lr", "epsilon2", "weight_decay"], OUT_OF_RANGE) | {
    "beta2_decay": [*NOT_FINITE, 1.0, -16.5],
    "epsilon1": [*OUT_OF_RANGE, 0.0, 1e16],
    "d": [*OUT_OF_RANGE, 0.0],
}
RANGES["Muon"] = (
    dict.fromkeys(["lr", "weight_decay", "adamw_lr_scale", "adamw_epsilon"], OUT_OF_RANGE)
    | dict.fromkeys(["momentum", "beta1", "beta2"], BELOW_ONE)
    | dict.fromkeys(["ns_a", "ns_b", "ns_c"], NOT_FINITE)
    | {"ns_steps": [0, -1, 100], "epsilon": [*OUT_OF_RANGE, 0.0]}
)

SCHEDULE_RANGES: dict[str, dict[str, list[float]]] = {
    "CosineAnnealingLR": {"total_steps": [0, -1], "min_lr": OUT_OF_RANGE},
    "PolynomialLR": {"total_steps": [0, -1], "exponent": [*OUT_OF_RANGE, 64.0]},
    "StepLR": {"step_size": [0, -1], "gamma": [*OUT_OF_RANGE, 1e3]},
    "StableDecayLR": {"stable_steps": [-1], "decay_steps": [0, -1], "min_lr": OUT_OF_RANGE},
    "OneCycleLR": {
        "total_steps": [0, -1],
        "pct_start": [*OUT_OF_RANGE, 1.0625],
        "base_momentum": BELOW_ONE,
        "max_momentum": BELOW_ONE,
        "div_factor": [*OUT_OF_RANGE, 0.0],
        "final_div_factor": [*OUT_OF_RANGE, 0.0],
    },
}


def start(rule: Rule, device: str, **options: Any) -> GramstepRun:
    """A run that took two steps of four."""
    run = GramstepRun(make_problem(steps=4), rule, device, **options)
    run.step(0)
    run.step(1)
    return run


def finished(run: GramstepRun) -> list[Any]:
    """Everything that a run holds and says, after the steps that are left."""
    for step in (2, 3):
        run.step(step)
    names = run.optimizer.segment_state_names()
    kept = [run.optimizer.segment_state(name, 6).tobytes() for name in names]
    scale = float(run.params.new_tensor(memory_of(run))[0])
    return [bits(run.states()), kept, bytes(run.optimizer.report().numbers), scale]


def memory_of(run: GramstepRun) -> Any:
    """The loss scale's memory as numpy or torch has it."""
    memory = run.optimizer.loss_scale()
    return np.asarray(memory) if run.device == "cpu" else torch.as_tensor(memory, device="cuda")


def said_of(name: str, option: str) -> list[str]:
    """What a message on an option out of its range says."""
    return [f"{name}.{option}: got ", "expected"]


def assert_refused(
    rule: Rule,
    device: str,
    calls: list[tuple[Callable[[GramstepRun], Any], list[str]]],
    status: Status = Status.INVALID_ARGUMENT,
    **options: Any,
) -> None:
    """The calls fail, each with these words, and the run goes on as one without them."""
    run, other = (start(rule, device, **options) for _ in range(2))
    for call, words in calls:
        with pytest.raises(GramstepError) as caught:
            call(run)
        assert_fails(caught.value.status, status, *words)
    assert finished(run) == finished(other)


@pytest.mark.parametrize("name", RANGES)
def test_rule_options_out_of_range(name: str, device: str) -> None:
    calls = []
    for option, values in RANGES[name].items():
        for value in values:
            text = named(name, **{option: value})
            calls.append(
                (lambda run, text=text: run.optimizer.set_rule(text), said_of(name, option))
            )
    assert_refused(Rule(name), device, calls)
    for option in RANGES[name]:
        assert f"{option}=" in full_text("rule", name)


def test_ranges_are_of_all_rules() -> None:
    """Every number among the options has a range, but for switches."""
    assert set(names_of("rule")) == set(RANGES)
    for name, ranges in RANGES.items():
        options = full_text("rule", name).split("(")[1].rstrip(")").split(", ")
        numbers = {o.split("=")[0] for o in options if o.split("=")[1] not in ("true", "false")}
        assert numbers == set(ranges), name


BAD_TEXTS = ["", "SGDD", "sgd", "SGD(", "SGD)", "SGD()x", "SGD(lr)", "SGD(lr=)", "SGD(lr=1,lr=1)"]
BAD_VALUES = ["SGD(lr=x)", "SGD(lr=[1])", "SGD(nesterov=2)", "AdEMAMix(alpha_warmup=1.5)"]


@pytest.mark.parametrize("text", BAD_TEXTS + BAD_VALUES)
def test_rules_that_cannot_be_read(text: str, device: str) -> None:
    assert_raises(lambda: full_text("rule", text))
    assert_refused(Rule("SGD"), device, [(lambda run: run.optimizer.set_rule(text), [])])


@pytest.mark.parametrize(
    ("rule", "texts"),
    [
        (Rule("SGD"), ["SGD(momentum=0.9)", "Adam", "Lion", "NAdam"]),
        (Rule("Adam"), ["Adam(amsgrad=true)", "Adamax", "NAdam", "SGD(momentum=0.9)", "RMSprop"]),
        (Rule("NAdam"), ["ScheduleFreeSGD"]),
        (Rule("Lion"), ["Adam", "Adagrad"]),
        (Rule("ScheduleFreeSGD"), ["ScheduleFreeAdamW", "Lion"]),
        (Rule("RMSprop", {"centered": True}), ["RMSprop(momentum=0.9)", "Adadelta"]),
        (Rule("Adafactor"), ["Muon", "AdamW", "RMSprop"]),
        (Rule("Muon"), ["Adafactor", "AdamW", "SGD(momentum=0.9)"]),
        (Rule("AdamW"), ["Muon", "Adafactor"]),
    ],
    ids=str,
)
def test_rules_whose_state_is_not_there(rule: Rule, texts: list[str], device: str) -> None:
    """A clear refusal that names what is kept and what would be."""
    calls = [
        (lambda run, t=text: run.optimizer.set_rule(t), ["set_rule", "keeps"]) for text in texts
    ]
    assert_refused(rule, device, calls, Status.INVALID_STATE)


@pytest.mark.parametrize("name", SCHEDULE_RANGES)
def test_schedule_options_out_of_range(name: str, device: str) -> None:
    calls = []
    for option, values in SCHEDULE_RANGES[name].items():
        for value in values:
            text = named(name, **{option: value})
            words = said_of(name, option)
            calls.append((lambda run, text=text: run.optimizer.set_schedule(text), words))
    assert_refused(Rule("SGD"), device, calls, schedule="StepLR(step_size=2)")


def test_bad_schedules(device: str) -> None:
    texts = [
        "",
        "StepLr",
        "StepLR(",
        "StepLR(gamma=x)",
        "OneCycleLR(anneal=cos)",
        "ConstantLR(x=1)",
    ]
    calls = [(lambda run, t=text: run.optimizer.set_schedule(t), []) for text in texts]
    for factor in (*OUT_OF_RANGE, 1.0625):
        call = lambda run, f=factor: run.optimizer.set_schedule("StepLR", 5, f)  # noqa: E731
        calls.append((call, said_of("Warmup", "start_factor")))
    words = said_of("Warmup", "steps")
    calls.append((lambda run: run.optimizer.set_schedule("StepLR", -1), words))
    assert_refused(Rule("SGD"), device, calls, schedule="StepLR(step_size=2)")


@pytest.mark.parametrize("rule", ["SGD", "Adagrad", "Adadelta", "RMSprop"])
def test_cycle_of_a_rule_without_momentum(rule: str, device: str) -> None:
    """Nothing to cycle: refused, as torch's OneCycleLR does, unless it is told so."""
    layout, options = make_problem(steps=1).layout, {"device": c_device(device)}
    cycle = "OneCycleLR(total_steps=9)"
    assert_raises(lambda: Optimizer(layout, rule, schedule=cycle, **options), "cycle_momentum")
    lr_alone = "OneCycleLR(total_steps=9, cycle_momentum=false)"
    optimizer = Optimizer(layout, rule, schedule=lr_alone, **options)
    assert_raises(lambda: optimizer.set_schedule(cycle), "cycle_momentum")


def test_bad_clip_norms(device: str) -> None:
    calls = [
        (lambda run, v=value: run.optimizer.set_clip_norm(v), ["set_clip_norm", "clip_norm"])
        for value in (*OUT_OF_RANGE, 0.0)
    ]
    assert_refused(Rule("SGD"), device, calls, clip_norm=0.5)


def test_clip_where_nobody_looks(device: str) -> None:
    calls = [(lambda run: run.optimizer.set_clip_norm(1.0), ["set_clip_norm", "clip_norm"])]
    assert_refused(Rule("SGD"), device, calls, Status.INVALID_STATE)


def test_bad_loss_scales(device: str) -> None:
    values = [*OUT_OF_RANGE, 0.0, 1e-40, 1e39]
    calls = [(lambda run, v=v: run.optimizer.set_loss_scale(v), ["loss_scale"]) for v in values]
    assert_refused(Rule("SGD"), device, calls, dynamic_loss_scale=1)


@pytest.mark.parametrize(
    ("word", "changes"),
    [
        *[("growth_factor", {"growth_factor": value}) for value in (*OUT_OF_RANGE, 0.5)],
        *[("backoff_factor", {"backoff_factor": value}) for value in (*OUT_OF_RANGE, 0.0, 1.5)],
        *[("growth_interval", {"growth_interval": value}) for value in (0, -1)],
        ("dynamic_loss_scale", {"non_finite": NonFinite.PROPAGATE}),
    ],
    ids=str,
)
def test_bad_dynamic_loss_scales(word: str, changes: dict[str, Any]) -> None:
    layout = make_problem(steps=1).layout
    options = {"dynamic_loss_scale": 1, **changes}
    assert_raises(lambda: Optimizer(layout, "SGD", **options), word, "got", "expected")


def test_bad_evaluation_params(device: str) -> None:
    size = make_problem(steps=1).size

    def call(params: int, out: int, count: int) -> Callable[[GramstepRun], None]:
        def ask(run: GramstepRun) -> None:
            base = run.params.data_ptr()
            evaluate = gramstep_c.library.gramstep_evaluation_params
            handle = run.optimizer.handle
            gramstep_c.check(evaluate(handle, base + params, base + out, count, None))

        return ask

    calls = [
        (call(0, 0, size - 1), ["evaluation_params", str(size - 1), str(size)]),
        (call(0, 0, size + 1), ["evaluation_params", str(size + 1), str(size)]),
        (call(0, 0, -1), ["evaluation_params", "-1"]),
        (call(2, 2, size), ["params", "multiple of 4"]),
        (call(0, 512, size), ["out", "params"]),
    ]
    assert_refused(Rule("ScheduleFreeSGD"), device, calls)


def test_bad_segment_state(device: str) -> None:
    calls = [
        (lambda run: run.optimizer.segment_state("mu", 6), ["mu", "weight_sum"]),
        (lambda run: run.optimizer.segment_state("z", 6), ["z", "weight_sum"]),
        (lambda run: run.optimizer.segment_state("lr_max", 5), ["segments", "5", "6"]),
        (lambda run: run.optimizer.segment_state("lr_max", 7), ["segments", "7", "6"]),
        (lambda run: run.optimizer.set_segment_state("mu", [1.0] * 6), ["mu", "weight_sum"]),
        (lambda run: run.optimizer.set_segment_state("lr_max", [1.0] * 5), ["5", "6"]),
        (lambda run: run.optimizer.set_segment_state("lr_max", [1.0] * 7), ["7", "6"]),
        (lambda run: run.optimizer.state("lr_max"), ["lr_max", "z"]),
    ]
    assert_refused(Rule("ScheduleFreeSGD"), device, calls)
    calls = [(lambda run: run.optimizer.segment_state("mu_product", 6), ["mu_product"])]
    assert_refused(Rule("Adam"), device, calls)


@pytest.mark.parametrize("scalar", ["grad_scale", "found_inf"])
def test_bad_scalars_of_a_step(scalar: str, device: str) -> None:
    """A pointer that is no float's."""

    def step(run: GramstepRun) -> None:
        rows = [run.put(run.problem.rows[2, 0])]
        gradients = gramstep_c.gradients_of(rows, run.put(run.problem.heads[2]))
        setattr(gradients, scalar, run.params.data_ptr() + 2)
        place = gramstep_c.floats(run.params)
        call = gramstep_c.library.gramstep_step
        gramstep_c.check(call(run.optimizer.handle, *place, gramstep_c.byref(gradients), None))

    assert_refused(Rule("SGD"), device, [(step, [scalar, "multiple of 4"])])


@pytest.mark.parametrize("kind", ["rule", "schedule"])
def test_texts_read_back(kind: str) -> None:
    """Every rule's and schedule's text with all options is its own text."""
    assert len(names_of(kind)) == len(set(names_of(kind))) > 5
    for name in names_of(kind):
        text = full_text(kind, name)
        assert text.split("(")[0] == name
        assert full_text(kind, text) == text
    assert getattr(gramstep_c.library, f"gramstep_{kind}_name")(-1) is None
    assert getattr(gramstep_c.library, f"gramstep_{kind}_name")(len(names_of(kind))) is None
