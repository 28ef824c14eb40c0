"""What an engine is: one record per way to run a network, and what a loaded network offers."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.base.settings import EngineName
from shared.models.manifest import Export, Manifest
from shared.models.novelty import NoveltyCheck


class Network(Protocol):
    """A loaded network, ready to screen."""

    device: str
    """Where and with what it runs, for people to read."""
    novelty: NoveltyCheck | None
    """The version's check for images that are out of distribution; None if it has none."""

    has_evidence: bool
    """Whether the network has an evidence map: see `shared.models.evidence`."""

    def logits(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Takes pixels of shape (n, height, width, channels), 0 to 255; returns n logits of PNEUMONIA."""

    def answers(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """The logits, and the evidence maps, shape (n, rows, columns); None in their place without `has_evidence`."""


@dataclass(frozen=True)
class Engine:
    """One way to run a network.

    name: what a manifest's exports call it; title: what people call it; file: how its file is named in new versions;
    load: takes a version's folder, its verified manifest and the export, and imports what it needs; package: the
    Python package it needs, None if none; setting: the value of the setting `engine` that asks for it, None if none
    does; rank_on_cpu, rank_on_gpu: the lowest rank among a version's exports runs.
    """

    name: str
    title: str
    file: str
    load: Callable[[Path, Manifest, Export], Network]
    package: str | None
    setting: EngineName | None
    rank_on_cpu: int
    rank_on_gpu: int

    def is_available(self) -> bool:
        return self.package is None or is_installed(self.package)


def is_installed(package: str) -> bool:
    return find_spec(package) is not None
