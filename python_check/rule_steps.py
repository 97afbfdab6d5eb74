"""The rules' formulas over bounded arrays, one function a rule, in torch.optim's order.

Every function takes many steps at once, [steps, size], each from what was held before it. What
depends on the steps before, as NAdam's product does, is worked out along the first axis.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bounded import UNIT, Bounded, absolute, given, maximum, positive_part, sign, sqrt, where
from matrix_steps import adafactor_step, muon_matrix_step, of_matrices
from rules import Rule
from step_numbers import (
    State,
    Step,
    StepNumbers,
    add_l2,
    decayed,
    lerp,
    mean_square,
    norms,
    with_decay,
)


def bounded_step(rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: State) -> Step:
    """The new parameters and state; g is the gradient to descend along."""
    return STEPS[rule.name](rule, numbers, g, p, state)


def sgd_step(rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: State) -> Step:
    """torch.optim.SGD."""
    momentum = numbers.momentum_of(rule)
    g = add_l2(numbers, g, p)
    if rule["momentum"]:
        b = state["momentum_buffer"] * momentum + g * (1 - rule["dampening"])
        b = where(numbers.t == 1, g, b)
        state = {"momentum_buffer": b}
        g = g + b * momentum if rule["nesterov"] else b
    return p - g * numbers.lr, state


def adam_step(rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: State) -> Step:
    """torch.optim.Adam and AdamW, which differ in where the weight decay goes; Keras' epsilon."""
    beta1, beta2 = numbers.betas(rule)
    g, p = with_decay(numbers, rule.name == "AdamW", g, p)
    m = lerp(state["exp_avg"], g, 1 - beta1)
    v = mean_square(state["exp_avg_sq"], g, beta2)
    new_state = {"exp_avg": m, "exp_avg_sq": v}
    if rule["amsgrad"]:
        v = new_state["max_exp_avg_sq"] = maximum(state["max_exp_avg_sq"], v)
    c1, c2 = 1 - beta1**numbers.t, 1 - beta2**numbers.t
    if rule["epsilon_hat"]:
        return p - m * (numbers.lr * np.sqrt(c2) / c1) / (sqrt(v) + rule["eps"]), new_state
    denominator = sqrt(v) * (1 / np.sqrt(c2)) + rule["eps"]
    return p - m * (numbers.lr / c1) / denominator, new_state


def nadam_step(rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: State) -> Step:
    """torch.optim.NAdam."""
    beta1, beta2 = numbers.betas(rule)
    g, p = with_decay(numbers, rule["decoupled_weight_decay"], g, p)
    m = lerp(state["exp_avg"], g, 1 - beta1)
    v = mean_square(state["exp_avg_sq"], g, beta2)
    mu, after = (
        beta1 * (1 - 0.5 * 0.96 ** (t * rule["momentum_decay"])) for t in (numbers.t, numbers.t + 1)
    )
    product = np.cumprod(np.where(numbers.used, mu, 1.0), axis=0)
    denominator = sqrt(v) * (1 / np.sqrt(1 - beta2**numbers.t)) + rule["eps"]
    left = np.where(numbers.used, 1 - product, 1.0)  # nothing, before the first gradient
    own, ahead = numbers.lr * (1 - mu) / left, numbers.lr * after / (1 - product * after)
    p = p - g * own / denominator - m * ahead / denominator
    return p, {"exp_avg": m, "exp_avg_sq": v}


def radam_step(rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: State) -> Step:
    """torch.optim.RAdam."""
    beta1, beta2 = numbers.betas(rule)
    g, p = with_decay(numbers, rule["decoupled_weight_decay"], g, p)
    m = lerp(state["exp_avg"], g, 1 - beta1)
    v = mean_square(state["exp_avg_sq"], g, beta2)
    step = m * (numbers.lr / (1 - beta1**numbers.t))
    rectified, r = rectification(beta2, numbers.t)
    adaptive = step * r / (sqrt(v) + rule["eps"])
    return p - where(rectified, adaptive, step), {"exp_avg": m, "exp_avg_sq": v}


def rectification(beta2: float, t: np.ndarray) -> tuple[np.ndarray, Bounded]:
    """Whether RAdam rectifies step t, and its r sqrt(c2).

    rho is what is left of two numbers near rho_inf: with beta2^t off by t roundings in double, as
    repeated squaring leaves it, rho is off by rho_inf t / c2 roundings. Python's power, not
    numpy's, for torch takes that.
    """
    counts, places = np.unique(t, return_inverse=True)
    kept = np.array([beta2 ** int(count) for count in counts])[places].reshape(t.shape)
    c2 = 1 - kept
    last = 2 / (1 - beta2) - 1
    lost = 2 * t * kept / c2
    rho = last - lost
    rectified = rho > 5
    rho = np.where(rectified, rho, 6.0)
    squared = (rho - 4) * (rho - 2) * last / ((last - 4) * (last - 2) * rho)
    r = np.sqrt(np.where(rectified, squared, 0.0)) * np.sqrt(c2)
    rho_error = np.finfo(np.float64).eps * (lost * t / c2 + 2 * last)
    relative = 0.5 * rho_error * (1 / (rho - 4) + 1 / (rho - 2) + 1 / rho)
    return rectified, Bounded(r, r * (UNIT + relative))


def adamax_step(rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: State) -> Step:
    """torch.optim.Adamax."""
    beta1, beta2 = numbers.betas(rule)
    g = add_l2(numbers, g, p)
    m = lerp(state["exp_avg"], g, 1 - beta1)
    u = maximum(state["exp_inf"] * beta2, absolute(g) + rule["eps"])
    p = p - m * (numbers.lr / (1 - beta1**numbers.t)) / u
    return p, {"exp_avg": m, "exp_inf": u}


def adagrad_step(rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: State) -> Step:
    """torch.optim.Adagrad."""
    g = add_l2(numbers, g, p)
    total = state["sum"] + g * g
    lr = numbers.lr / (1 + (numbers.t - 1) * rule["lr_decay"])
    return p - g * lr / (sqrt(total) + rule["eps"]), {"sum": total}


def adadelta_step(rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: State) -> Step:
    """torch.optim.Adadelta."""
    rho, eps = rule["rho"], rule["eps"]
    g = add_l2(numbers, g, p)
    square = mean_square(state["square_avg"], g, rho)
    delta = sqrt(state["acc_delta"] + eps) / sqrt(square + eps) * g
    steps = mean_square(state["acc_delta"], delta, rho)
    return p - delta * numbers.lr, {"square_avg": square, "acc_delta": steps}


def rmsprop_step(rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: State) -> Step:
    """torch.optim.RMSprop, with a variance that rounding does not take below zero."""
    alpha = rule["alpha"]
    g = add_l2(numbers, g, p)
    variance = square = mean_square(state["square_avg"], g, alpha)
    new_state = {"square_avg": square}
    if rule["centered"]:
        mean = new_state["grad_avg"] = lerp(state["grad_avg"], g, 1 - alpha)
        variance = positive_part(square - mean * mean)
    moved = g / (sqrt(variance) + rule["eps"])
    if rule["momentum"]:
        moved = state["momentum_buffer"] * numbers.momentum_of(rule) + moved
        new_state["momentum_buffer"] = moved
    return p - moved * numbers.lr, new_state


def lion_step(rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: State) -> Step:
    """optax.lion."""
    beta1, beta2 = numbers.betas(rule)
    m, p = state["exp_avg"], decayed(numbers, p)
    nothing = (m.value == 0) & (g.value == 0)
    direction = where(nothing, given(np.zeros(m.value.shape)), lerp(m, g, 1 - beta1))
    return p - sign(direction) * numbers.lr, {"exp_avg": lerp(m, g, 1 - beta2)}


def ademamix_step(rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: State) -> Step:
    """The authors' AdEMAMix, and optax.contrib's."""
    beta1, beta2, _ = numbers.betas(rule)
    alpha, take3 = ademamix_schedules(rule, numbers.t)
    p = decayed(numbers, p)
    fast = lerp(state["exp_avg_fast"], g, 1 - beta1)
    slow = lerp(state["exp_avg_slow"], g, take3)
    v = mean_square(state["exp_avg_sq"], g, beta2)
    c1, c2 = 1 - beta1**numbers.t, 1 - beta2**numbers.t
    denominator = sqrt(v) * (1 / np.sqrt(c2)) + rule["eps"]
    # The two may cancel: then what rounding left of each is what counts.
    p = p - (fast * (numbers.lr / c1) + slow * (numbers.lr * alpha)) / denominator
    return p, {"exp_avg_fast": fast, "exp_avg_slow": slow, "exp_avg_sq": v}


def ademamix_schedules(rule: Rule, t: np.ndarray) -> tuple[np.ndarray, Bounded]:
    """alpha and 1 - beta3 in step t, as the authors' linear_warmup_scheduler and
    linear_hl_warmup_scheduler have them.

    A rounding of beta in double is one by |log beta| of its half-life, and one of beta3 is one by
    1 - beta3 of what is left.
    """
    beta1, _, beta3 = rule["betas"]

    def half_life(beta: Any) -> Any:
        return np.log(0.5) / np.log(beta + 1e-8) - 1

    risen = t / max(rule["alpha_warmup"], 1)
    alpha = rule["alpha"] * np.where(t < rule["alpha_warmup"], risen, 1.0)
    share = t / max(rule["beta3_warmup"], 1)
    life = (1 - share) * half_life(beta1) + share * half_life(beta3)
    rises = t < rule["beta3_warmup"]
    take = 1 - np.where(rises, 0.5 ** (1 / (np.where(rises, life, 1.0) + 1)), beta3)
    lost = np.where(rises, 2 / np.abs(np.log(max(beta1, beta3))) + 1 / take, 0.0)
    return alpha, Bounded(take, take * (UNIT + np.finfo(np.float64).eps * lost))


def trust_ratio(
    rule: Rule, numbers: StepNumbers, norm: Bounded, under: Bounded, none: np.ndarray
) -> Bounded:
    """norm / under; 1 where there is none, or where the rule does not adapt."""
    one = none | (numbers.weight_decay == 0 if not rule["always_adapt"] else False)
    ones = given(np.ones(norm.value.shape))
    return where(one, ones, norm / where(one, ones, under))


def lamb_step(rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: State) -> Step:
    """optax.lamb."""
    beta1, beta2 = numbers.betas(rule)
    m = lerp(state["exp_avg"], g, 1 - beta1)
    v = mean_square(state["exp_avg_sq"], g, beta2)
    c1, c2 = 1 - beta1**numbers.t, 1 - beta2**numbers.t
    moved = m * (1 / c1) / (sqrt(v) * (1 / np.sqrt(c2)) + rule["eps"])
    u = moved + p * numbers.weight_decay
    p_norm, u_norm = norms(numbers, p), norms(numbers, u)
    none = (p_norm.value == 0) | (u_norm.value == 0)
    step = trust_ratio(rule, numbers, p_norm, u_norm, none) * numbers.lr
    return p - u * step, {"exp_avg": m, "exp_avg_sq": v}


def lars_step(rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: State) -> Step:
    """Algorithm 1 of its paper, with the learning rate outside of the momentum."""
    momentum = numbers.momentum_of(rule)
    p_norm, g_norm = norms(numbers, p), norms(numbers, g)
    under = g_norm + p_norm * numbers.weight_decay + rule["eps"]
    none = (p_norm.value == 0) | (g_norm.value == 0)
    ratio = trust_ratio(rule, numbers, p_norm * rule["trust_coefficient"], under, none)
    g = ratio * add_l2(numbers, g, p)
    b = state["momentum_buffer"] * momentum + g
    move = g + b * momentum if rule["nesterov"] else b
    return p - move * numbers.lr, {"momentum_buffer": b}


def average_of(rule: Rule, numbers: StepNumbers) -> np.ndarray:
    """How far a schedule-free average moves in each step."""
    lr = np.where(numbers.used, numbers.lr, 0.0)
    largest = np.maximum.accumulate(np.broadcast_to(lr, numbers.used.shape), axis=0)
    weight = numbers.t ** rule["r"] * largest ** rule["weight_lr_power"]
    weight = np.where(numbers.used, weight, 0.0)
    total = np.cumsum(weight, axis=0)
    return np.where(total > 0, weight / np.where(total > 0, total, 1.0), 0.0)


def schedule_free_step(
    rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: State
) -> Step:
    """schedulefree.SGDScheduleFree and AdamWScheduleFree; p is y."""
    new_state = {}
    beta = numbers.momentum_of(rule) if rule.name == "ScheduleFreeSGD" else rule["betas"][0]
    if rule.name == "ScheduleFreeAdamW":
        beta2 = rule["betas"][1]
        v = new_state["exp_avg_sq"] = mean_square(state["exp_avg_sq"], g, beta2)
        g = g / (sqrt(v) * (1 / np.sqrt(1 - beta2**numbers.t)) + rule["eps"])
    z = where(numbers.t == 1, p, state["z"])
    g, c = add_l2(numbers, g, p), average_of(rule, numbers)
    new_state["z"] = z - g * numbers.lr
    return lerp(p, z, c) - g * (numbers.lr * (1 - beta * (1 - c))), new_state


def muon_step(rule: Rule, numbers: StepNumbers, g: Bounded, p: Bounded, state: State) -> Step:
    """torch.optim.Muon's for matrices, torch.optim.AdamW's for all else."""
    matrix = of_matrices(rule, numbers)
    moved, new_state = muon_matrix_step(rule, numbers, g, p, state)
    adamw = Rule("AdamW", {"betas": rule["betas"], "eps": rule["adamw_epsilon"]})
    # A schedule's momentum is the matrices'.
    scaled = replace(numbers, lr=numbers.lr * rule["adamw_lr_scale"], momentum=None)
    p, rest = adam_step(adamw, scaled, g, p, state)
    new_state = {name: where(matrix, new, state[name]) for name, new in new_state.items()}
    rest = {name: where(matrix, state[name], new) for name, new in rest.items()}
    return where(matrix, moved, p), {**new_state, **rest}


STEPS = {
    "SGD": sgd_step,
    "Adam": adam_step,
    "AdamW": adam_step,
    "NAdam": nadam_step,
    "RAdam": radam_step,
    "Adamax": adamax_step,
    "Adagrad": adagrad_step,
    "Adadelta": adadelta_step,
    "RMSprop": rmsprop_step,
    "Lion": lion_step,
    "AdEMAMix": ademamix_step,
    "LAMB": lamb_step,
    "LARS": lars_step,
    "ScheduleFreeSGD": schedule_free_step,
    "ScheduleFreeAdamW": schedule_free_step,
    "Adafactor": adafactor_step,
    "Muon": muon_step,
}
