"""Who takes a step: gramstep, and torch, TorchJD and optax as their users have them do it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from rounds import Contender

# After torch: both then share one OpenMP run time, torch's, and one set of threads.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python_check"))
import gramstep_c as gramstep

ADAMW = {"lr": 1e-3, "weight_decay": 1e-2}


def by_gramstep(
    params: torch.Tensor, rows: list[torch.Tensor], tensors: int, aggregator: str
) -> Contender:
    """AdamW by gramstep over one flat buffer of `tensors` segments."""
    layout = gramstep.Layout()
    for t in range(tensors):
        layout.add(f"tensor{t}", [params.numel() // tensors])
    on_cpu = params.device.type == "cpu"
    where = {"threads": torch.get_num_threads()} if on_cpu else {"device": gramstep.Device.CUDA}
    stream = None if on_cpu else torch.cuda.current_stream().cuda_stream
    optimizer = gramstep.Optimizer(
        layout,
        gramstep.named("AdamW", **ADAMW),
        tasks=len(rows),
        aggregator=aggregator,
        **where,
    )

    def first_moment() -> torch.Tensor:
        memory = optimizer.state("exp_avg")
        return torch.as_tensor(np.asarray(memory) if on_cpu else memory, device=params.device)

    return Contender("gramstep", lambda: optimizer.step(params, rows, stream=stream), first_moment)


def torch_adamw(
    params: list[torch.Tensor], **how: bool
) -> tuple[torch.optim.AdamW, Callable[[], torch.Tensor]]:
    """torch's AdamW, and what gives its first moment."""
    optimizer = torch.optim.AdamW(params, **how, **ADAMW)
    return optimizer, lambda: torch.cat([optimizer.state[p]["exp_avg"] for p in params])


def with_gradients(start: torch.Tensor, gradient: torch.Tensor, tensors: int) -> list[torch.Tensor]:
    """Parameters of one's own with their gradients, in so many tensors."""
    params = [part.clone().requires_grad_() for part in start.split(start.numel() // tensors)]
    for param, part in zip(params, gradient.split(params[0].numel()), strict=True):
        param.grad = part.clone()
    return params


def fused(start: torch.Tensor, gradient: torch.Tensor, tensors: int) -> Contender:
    """torch's one kernel for all tensors."""
    optimizer, moment = torch_adamw(with_gradients(start, gradient, tensors), fused=True)
    return Contender("fused", lambda: optimizer.step(), moment)


def foreach(start: torch.Tensor, gradient: torch.Tensor, tensors: int) -> Contender:
    """torch's kernel an operation for all tensors."""
    optimizer, moment = torch_adamw(with_gradients(start, gradient, tensors), foreach=True)
    return Contender("foreach", lambda: optimizer.step(), moment)


def compiled(start: torch.Tensor, gradient: torch.Tensor, tensors: int) -> Contender:
    """torch.compile of that: its first step takes long."""
    optimizer, moment = torch_adamw(with_gradients(start, gradient, tensors), foreach=True)
    return Contender("compiled", torch.compile(lambda: optimizer.step()), moment)


def optax(start: torch.Tensor, gradient: torch.Tensor, tensors: int) -> Contender:
    """optax's AdamW under JAX's jit, which gets its memory back to write into. Raises RuntimeError
    where JAX has no such device, ImportError where it is not here."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax
    import optax as library

    device = jax.devices("gpu" if start.is_cuda else "cpu")[0]
    rule = library.adamw(ADAMW["lr"], weight_decay=ADAMW["weight_decay"])

    def held(flat: torch.Tensor) -> list[jax.Array]:
        parts = flat.split(flat.numel() // tensors)
        return [jax.device_put(part.cpu().numpy(), device) for part in parts]

    def step(params: list, state: object, gradients: list) -> tuple[list, object]:
        updates, state = rule.update(gradients, state, params)
        return library.apply_updates(params, updates), state

    jitted = jax.jit(step, donate_argnums=(0, 1))
    gradients = held(gradient)
    now = [held(start)]
    now.append(jax.jit(rule.init)(now[0]))

    def run() -> None:
        now[:] = jitted(*now, gradients)
        jax.block_until_ready(now)

    def first_moment() -> torch.Tensor:
        moments = [np.asarray(part) for part in now[1][0].mu]
        return torch.from_numpy(np.concatenate(moments)).to(start.device)

    return Contender("optax", run, first_moment)


def in_place(start: torch.Tensor, rows: list[torch.Tensor]) -> Contender:
    """PCGrad as it is tuned by hand: K^2 dot products and axpys, in place; fused AdamW."""
    param = start.clone().requires_grad_()
    param.grad = torch.empty_like(start)
    projected = torch.empty_like(start)
    optimizer, first_moment = torch_adamw([param], fused=True)

    def run() -> None:
        squares = [torch.dot(row, row) for row in rows]
        param.grad.zero_()
        for i, row in enumerate(rows):
            projected.copy_(row)
            for j, other in enumerate(rows):
                if j != i and (product := torch.dot(projected, other)) < 0:
                    projected.add_(other, alpha=-(product / squares[j]).item())
            param.grad.add_(projected)
        optimizer.step()

    return Contender("in_place", run, first_moment)


def pcgrad_weights(gram: np.ndarray) -> np.ndarray:
    """PCGrad's weights [K] from the Gram matrix [K, K], every task meeting the others in order."""
    weights = np.eye(len(gram))
    for i, own in enumerate(weights):
        for j in range(len(gram)):
            if j != i and (product := own @ gram[j]) < 0:
                own[j] -= product / gram[j, j]
    return weights.sum(axis=0)


def matmul(start: torch.Tensor, matrix: torch.Tensor) -> Contender:
    """PCGrad by matrix products: J @ J.T, weights, w @ J into memory that is there (allocating it
    takes twice as long on a CPU); fused AdamW."""
    param = start.clone().requires_grad_()
    param.grad = torch.empty_like(start)
    optimizer, first_moment = torch_adamw([param], fused=True)

    def run() -> None:
        weights = pcgrad_weights((matrix @ matrix.T).double().cpu().numpy())
        torch.mv(matrix.T, torch.from_numpy(weights).to(matrix), out=param.grad)
        optimizer.step()

    return Contender("matmul", run, first_moment)


def by_torchjd(start: torch.Tensor, matrix: torch.Tensor, method: str) -> Contender:
    """An aggregator of TorchJD on J, fused AdamW. Raises ImportError where TorchJD is not here.
    Only UPGrad's answer is compared: PCGrad draws its order, MGDA stops early."""
    from torchjd import aggregation

    aggregator = getattr(aggregation, method)()
    param = start.clone().requires_grad_()
    optimizer, first_moment = torch_adamw([param], fused=True)

    def run() -> None:
        param.grad = aggregator(matrix)
        optimizer.step()

    return Contender("torchjd", run, first_moment if method == "UPGrad" else None)
