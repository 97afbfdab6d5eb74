"""epsilon_hat beside Keras's Adam and AdamW, which have it by default."""

from __future__ import annotations

from typing import Any

import pytest

from peers import assert_peers, keras, run_keras
from problems import make_problem
from rules import Rule

# Of Keras: its variables do not know numpy 2's copy keyword.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HAT = {"epsilon_hat": True, "amsgrad": False}
RULES = [
    Rule("Adam", {"lr": 0.01, "eps": 1e-7} | HAT),
    Rule("Adam", {"lr": 0.01, "eps": 1e-2, "betas": (0.5, 0.99)} | HAT),
    Rule("Adam", {"lr": 0.01, "eps": 1e-3} | HAT | {"amsgrad": True}),
    Rule("AdamW", {"lr": 0.01, "eps": 1e-3, "weight_decay": 0.1} | HAT),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_epsilon_hat_is_keras(rule: Rule, device: str) -> None:
    library, problem = keras(), make_problem(steps=60)
    options: dict[str, Any] = {"weight_decay": 0.1} if rule.name == "AdamW" else {}

    def make() -> Any:
        return getattr(library.optimizers, rule.name)(
            learning_rate=rule["lr"],
            beta_1=rule["betas"][0],
            beta_2=rule["betas"][1],
            epsilon=rule["eps"],
            amsgrad=rule["amsgrad"],
            **options,
        )

    exact, fp32 = (run_keras(problem, make, dtype) for dtype in ("float64", "float32"))
    assert_peers(problem, rule, device, exact, fp32)
