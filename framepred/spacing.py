"""The network for frames that lie between others, not in place of missing ones.

Where frames are missing, those known before and after are as far apart as those to be made. Where
the frame rate is raised they are farther apart, and the speed that was measured between them is
that of several steps::

    missing     |   |   |   .   .   |   |        one step from known frame to known frame
    between     |           .   .   |            three
"""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor

from .model import FramePredictor

__all__ = ["SpacedPredictor"]


class SpacedPredictor(FramePredictor):
    """A network whose known frames are ``spacing`` steps of its unrolling apart.

    It shares the weights of the network it is made of, and remembers of frames what that does.
    """

    spacing = 1

    def __init__(self, model: FramePredictor) -> None:
        with torch.device("meta"):  # no weights of its own, and nothing random
            super().__init__(model.config)
        self.load_state_dict(model.state_dict(), assign=True)
        self.train(model.training)
        self.ablation = model.ablation

    @property
    def traits(self) -> Hashable:
        return super().traits, self.spacing

    def _remember(self, speeds: Tensor, flow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        last, steady, lasting = super()._remember(speeds, flow)
        return last / self.spacing, steady / self.spacing, lasting / self.spacing

    def _doubt(self, variance: Tensor, size: tuple[int, int]) -> Tensor:
        return super()._doubt(variance, size) / self.spacing
