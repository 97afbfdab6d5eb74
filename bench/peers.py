"""Who is measured beside gramstep, in which file, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from results import Folder


@dataclass(frozen=True)
class Peer:
    """A contender of a benchmark."""

    what: str  # the benchmark's name without where and how much
    counter: str
    title: str


PEERS = [
    Peer("pcgrad+adamw", "in_place", "torch, K² projections in place, fused AdamW"),
    Peer("pcgrad+adamw", "matmul", "torch, `J @ J.T`, weights on the host, `w @ J`, fused AdamW"),
    Peer("pcgrad+adamw", "torchjd", "TorchJD's PCGrad, fused AdamW"),
    Peer("mgda+adamw", "torchjd", "TorchJD's MGDA, fused AdamW"),
    Peer("upgrad+adamw", "torchjd", "TorchJD's UPGrad, fused AdamW"),
    Peer("adamw", "fused", "torch's fused AdamW"),
    Peer("adamw", "foreach", "torch's foreach AdamW"),
    Peer("adamw", "compiled", "torch's AdamW, compiled"),
    Peer("adamw", "optax", "optax's AdamW, jitted by JAX"),
]
TENSORS = (1, 256, 4096)


@dataclass(frozen=True)
class Beside:
    """How many times as long a peer takes; None where it was not measured."""

    peer: Peer
    extent: str
    times: float | None

    @property
    def title(self) -> str:
        """As it stands in a plot."""
        return f"{self.peer.title.replace('`', '')}, {self.extent}"


def besides(folder: Folder, device: str) -> Iterator[Beside]:
    """All peers, measured or not."""
    for peer in PEERS:
        found = [
            (name, each)
            for name, each in folder.benchmarks["torch"]
            if name.what == peer.what and f"/{device}/" in each["name"]
        ]
        variants = [f"tensors:{count}" for count in TENSORS] if peer.what == "adamw" else [""]
        for variant in variants:
            key = f"{peer.counter}.times"
            times = [
                each[key]
                for name, each in found
                if key in each and variant in ("", *name.variant.split("/"))
            ]
            extent = variant.replace("tensors:", "") + " tensors" if variant else "K = 8"
            yield Beside(peer, extent.replace("1 tensors", "1 tensor"), (times or [None])[0])
