"""Problems with known outcomes: the two-task toy, quadratics, and one matrix's weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gramstep_c
from answers import answer_to
from bounded import UNIT
from gramstep_c import named
from toy import CAGRAD, FLOOR, LEAST, NASH, front, losses, losses_and_gradients, shortfall, train

# How far from the front counts as on it, in units of the losses, of which a wall is 15 above it.
# Adam's steps of 1e-3 change the losses by up to 3e-3 each.
ON_FRONT = 0.05
ON_WALL = 15.0


def papers_losses(x: torch.Tensor) -> torch.Tensor:
    """The CAGrad authors' definition."""
    x1, x2 = x
    c1, c2 = torch.clamp(torch.tanh(x2 * 0.5), 0), torch.clamp(torch.tanh(-x2 * 0.5), 0)
    walls = torch.stack([0.5 * (-x1 - 7) - torch.tanh(-x2), 0.5 * (-x1 + 3) + torch.tanh(-x2) + 2])
    level = 0.1 * (-x2 - 8) ** 2
    bowls = torch.stack([(-x1 + 7) ** 2 + level, (-x1 - 7) ** 2 + level]) / 10 - 20
    return (torch.clamp(walls.abs(), LEAST).log() + 6) * c1 + bowls * c2


def test_gradients_of_the_toy() -> None:
    """Losses and gradients are autograd's, on the walls, in the valley and between them."""
    points = np.random.default_rng(0).uniform(-10, 10, (200, 2))
    points = np.concatenate([points, [[-9.0, 1e9], [3.0, 0.0], [0.0, -0.0], [7.0, -8.0]]])
    for point in points:
        x = torch.tensor(point, dtype=torch.float64, requires_grad=True)
        f = papers_losses(x)
        expected = f.tolist()
        for each in f:
            expected += torch.autograd.grad(each, x, retain_graph=True)[0].tolist()
        got = np.array(losses_and_gradients(*point))
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def pareto() -> np.ndarray:
    return front()


def test_front(pareto: np.ndarray) -> None:
    """Along the front what one loss gains the other gives up, and its points fall short by 0."""
    curve = np.array([losses(*point) for point in pareto])
    assert (np.diff(curve[:, 0]) < 0).all()
    assert (np.diff(curve[:, 1]) > 0).all()
    assert shortfall(*pareto[7], pareto) == 0


@pytest.mark.parametrize("start", CAGRAD.starts, ids=str)
def test_cagrad_reaches_the_middle(start: tuple[float, float]) -> None:
    """The same point of the front from all three starts."""
    x, y = train("CAGrad(c=0.5, rescale=one_plus_c)", CAGRAD, start)[0]
    np.testing.assert_allclose([x, y], [0, -8.3551], rtol=0, atol=2e-3)
    np.testing.assert_allclose(losses(x, y), -15.0916, rtol=0, atol=2e-3)


@pytest.mark.parametrize(("start", "end"), [(0, (-5.05, 2.15)), (2, (5.02, 2.33))])
def test_mean_sticks(start: int, end: tuple[float, float], pareto: np.ndarray) -> None:
    """The mean climbs to and fro on the wall that it came to."""
    x, y = train("Mean", CAGRAD, CAGRAD.starts[start])[0]
    np.testing.assert_allclose([x, y], end, rtol=0, atol=0.15)
    assert shortfall(x, y, pareto) > ON_WALL


def test_mean_without_a_wall(pareto: np.ndarray) -> None:
    x, y = train("Mean", CAGRAD, CAGRAD.starts[1])[0]
    assert shortfall(x, y, pareto) < ON_FRONT


# gamma as in the authors' toy: with any decay of its logits FAMO follows the steeper wall.
REACHING = ["NashMTL", "MGDA", "IMTLG", named("FAMO", gamma=0, min_losses=FLOOR)]


@pytest.mark.parametrize("start", NASH.starts, ids=str)
@pytest.mark.parametrize("aggregator", REACHING)
def test_reaches_the_front(aggregator: str, start: tuple[float, float], pareto: np.ndarray) -> None:
    """With losses of unequal scale, from all five starts."""
    assert shortfall(*train(aggregator, NASH, start)[0], pareto) < ON_FRONT


STICKING = ["PCGrad", "CAGrad(c=0.4)", "AlignedMTL", "UPGrad", "ConFIG", "Mean"]


@pytest.mark.parametrize("aggregator", [*STICKING, named("FAMO", min_losses=FLOOR)])
def test_sticks_on_the_wall(aggregator: str, pareto: np.ndarray) -> None:
    """Not from (9, 9), where the first loss's wall is a tenth as steep."""
    assert shortfall(*train(aggregator, NASH, (9.0, 9.0))[0], pareto) > ON_WALL


def descend(
    aggregator: str,
    start: tuple[float, float],
    factors: list[np.ndarray],
    centres: list[np.ndarray],
    lr: float,
    steps: int,
) -> np.ndarray:
    """SGD on |B_i^T (x - u_i)|^2, gradients worked out in float64."""
    layout = gramstep_c.Layout()
    layout.add("x", (2,))
    size = layout.sizes()[0]
    optimizer = gramstep_c.Optimizer(
        layout, named("SGD", lr=lr), aggregator=aggregator, tasks=len(factors), threads=1
    )
    params = np.zeros(size, np.float32)
    rows = np.zeros((len(factors), size), np.float32)
    params[:2] = start
    step = optimizer.stepper(params, list(rows))
    for _ in range(steps):
        x = params[:2].astype(np.float64)
        for row, factor, centre in zip(rows, factors, centres, strict=True):
            row[:2] = 2 * factor @ (factor.T @ (x - centre))
        step()
    return params[:2]


@pytest.mark.parametrize("aggregator", ["Mean", "UPGrad"])
def test_axes(aggregator: str) -> None:
    """x1^2 and x2^2 never conflict: fifty steps by 1 - 0.075 each, but for UPGrad's epsilon."""
    corners = [np.diag([1.0, 0.0]), np.diag([0.0, 1.0])]
    got = descend(aggregator, (3.0, -2.0), corners, [np.zeros(2)] * 2, 0.075, 50)
    np.testing.assert_allclose(got, [0.060843, -0.040562], rtol=0, atol=1e-6)


def turned(angle: float, widths: list[float]) -> np.ndarray:
    rotation = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return np.array(rotation) @ np.diag(widths)


VALLEYS = [turned(np.pi / 16, [1.0, 0.1]), turned(-np.pi / 16, [np.sqrt(3), 0.1])]
CENTRES = [np.array([1.0, 0.0]), np.array([-1.0, 0.0])]
CROSSED = ((0.0, 0.0), VALLEYS, CENTRES, 0.05, 500)

# 500 roundings to fp32 of a position and of a step, the positions no larger than 4.5.
CROSSED_ROUNDING = 500 * 2 * UNIT * 4.5


@pytest.mark.parametrize(
    ("aggregator", "end"),
    [("UPGrad(epsilon=1e-9)", (-0.18112, 3.89061)), ("Mean", (-0.09076, 4.12006))],
)
def test_crossed_valleys(aggregator: str, end: tuple[float, float]) -> None:
    """Two long valleys that cross far from both minima."""
    got = descend(aggregator, *CROSSED)
    np.testing.assert_allclose(got, end, rtol=0, atol=CROSSED_ROUNDING + 0.5e-5)


def test_crossed_valleys_beside_torchjd() -> None:
    """The default regularisation moves the end by 0.01: that is TorchJD's end as well."""
    torchjd = pytest.importorskip("torchjd.aggregation", reason="TorchJD is not installed")
    pytest.importorskip("quadprog", reason="TorchJD's solver is not installed")
    x, upgrad = np.zeros(2), torchjd.UPGrad()
    for _ in range(500):
        pairs = zip(VALLEYS, CENTRES, strict=True)
        rows = np.stack([2 * valley @ (valley.T @ (x - centre)) for valley, centre in pairs])
        x = x - 0.05 * upgrad(torch.from_numpy(rows)).numpy()
    got = descend("UPGrad", *CROSSED)
    np.testing.assert_allclose(got, x, rtol=0, atol=CROSSED_ROUNDING)


# To four decimals, as TorchJD's own tests and the papers' pages print them.
KNOWN_WEIGHTS = {
    "PCGrad": (2.2222, 1.5789),
    "UPGrad": (1.1109, 0.7894),
    "DualProj": (0.6109, 0.5),
    "MGDA": (0.6, 0.4),
    "IMTLG": (0.5923, 0.4077),
    "AlignedMTL": (0.5591, 0.4083),
    "CAGrad(c=0.5)": (0.7041, 0.5),
    "FairGrad(alpha=1)": (0.5915, 0.4071),
}
KNOWN_DIRECTIONS = {"ConFIG": (0.1588, 2.0706, 2.0706), "NashMTL": (0.0542, 0.7061, 0.7061)}
KNOWN_ROWS = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
FOUR_DECIMALS = 0.5e-4 * 1.01


@pytest.mark.parametrize("aggregator", KNOWN_WEIGHTS)
def test_known_weights(aggregator: str, device: str) -> None:
    answer = answer_to(aggregator, KNOWN_ROWS, device)
    expected = KNOWN_WEIGHTS[aggregator]
    np.testing.assert_allclose(answer.weights, expected, rtol=0, atol=FOUR_DECIMALS)


@pytest.mark.parametrize("aggregator", KNOWN_DIRECTIONS)
def test_known_directions(aggregator: str, device: str) -> None:
    answer = answer_to(aggregator, KNOWN_ROWS, device)
    expected = KNOWN_DIRECTIONS[aggregator]
    np.testing.assert_allclose(answer.direction, expected, rtol=0, atol=FOUR_DECIMALS)
