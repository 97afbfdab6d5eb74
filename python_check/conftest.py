"""Devices that the checks run on, and how torch is set up beside them."""

from __future__ import annotations

import os

import pytest
import torch

import gramstep_c


def why_no_gpu() -> str:
    """Why the checks cannot run on a GPU, "" where they can."""
    if not torch.cuda.is_available():
        return "torch sees no GPU"
    if gramstep_c.library.gramstep_cuda_devices() == 0:
        return "gramstep sees no GPU, or was built without CUDA"
    return ""


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Where gramstep runs and its memory is. GRAMSTEP_REQUIRE_GPU=1 lets no GPU test be skipped."""
    if request.param == "cuda" and (reason := why_no_gpu()):
        if os.environ.get("GRAMSTEP_REQUIRE_GPU") == "1":
            pytest.fail(f"GRAMSTEP_REQUIRE_GPU=1, but {reason}")
        pytest.skip(reason)
    return request.param


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Tensors are small here: threads would only cost."""
    torch.set_num_threads(1)
