"""A small network that reads handwritten digits, whose parameters lie in one flat buffer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from gramstep_layout import Layout

DATA = Path(__file__).parents[1] / "examples" / "data" / "digits.csv.gz"
SHAPES = {
    "hidden.weight": (64, 64),
    "hidden.bias": (64,),
    "out.weight": (10, 64),
    "out.bias": (10,),
}


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """1797 scans of 8 x 8 pixels in [0, 1], and what they show."""
    numbers = np.loadtxt(DATA, delimiter=",", dtype=np.float32, skiprows=0)
    return torch.from_numpy(numbers[:, :64] / 16), torch.from_numpy(numbers[:, 64].astype(np.int64))


class Network:
    """Its layout, and the loss and gradient at parameters of any type."""

    def __init__(self) -> None:
        self.layout = Layout()
        for name, shape in SHAPES.items():
            self.layout.add(name, shape)
        self.size = self.layout.sizes()[0]
        self.places = {name: self.layout.segment(name) for name in SHAPES}
        self.pixels, self.labels = digits()

    def initial(self, seed: int) -> torch.Tensor:
        """Parameters in fp32; padding is 0."""
        generator = torch.Generator().manual_seed(seed)
        flat = torch.zeros(self.size)
        for name, shape in SHAPES.items():
            if len(shape) == 2:
                drawn = torch.randn(shape, generator=generator) / shape[1] ** 0.5
                flat[self.places[name]] = drawn.flatten()
        return flat

    def used(self) -> torch.Tensor:
        """Which elements are no padding."""
        mask = torch.zeros(self.size, dtype=torch.bool)
        for place in self.places.values():
            mask[place] = True
        return mask

    def loss(self, flat: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        """The mean cross entropy of a batch, worked out in the parameters' type."""
        tensors = {name: flat[place].view(SHAPES[name]) for name, place in self.places.items()}
        x = self.pixels[batch].to(flat.dtype)
        x = torch.relu(x @ tensors["hidden.weight"].T + tensors["hidden.bias"])
        x = x @ tensors["out.weight"].T + tensors["out.bias"]
        return torch.nn.functional.cross_entropy(x.float(), self.labels[batch])

    def gradient(self, flat: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        """Its gradient, of the parameters' type."""
        leaf = flat.detach().clone().requires_grad_()
        self.loss(leaf, batch).backward()
        assert leaf.grad is not None
        return leaf.grad

    def batches(self, steps: int, seed: int = 0) -> list[torch.Tensor]:
        """Indices of 128 scans a step."""
        generator = torch.Generator().manual_seed(seed)
        return [torch.randint(len(self.labels), (128,), generator=generator) for _ in range(steps)]
