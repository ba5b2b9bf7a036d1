"""Motion corrected coarse to fine, by what the two sources of a new frame look like at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .composition import Sketch
from .grids import read_size
from .layers import Decoder, Levels
from .warping import rescale_flows, resize, warp

__all__ = ["Refinement", "Source", "take_as_is"]


@dataclass(frozen=True)
class Source:
    """A picture that a new frame is made from, and where its points are found in it."""

    features: Levels
    flow: Tensor  # (B, 2, H/2, W/2) from the new frame
    axes: tuple[Tensor, ...] = ()  # likewise: what the flow may be off by, see ``warp_spread``
    surprises: tuple[Tensor, ...] = ()  # likewise, but they are not corrected


def take_as_is(sources: tuple[Source, Source], logit: Tensor) -> Sketch:
    """What would be decided without a refinement, by the log-odds of the first source alone."""
    one, two = sources
    return Sketch(
        flows=(one.flow, two.flow),
        axes=((*one.axes, *one.surprises), (*two.axes, *two.surprises)),
        logit=logit,
        carried=None,
    )


class Refinement(nn.Module):
    """From a first guess at two backward flows and their axes to all of a new frame but its pixels.

    n_features: channels of features at 1/2 and 1/4 of the resolution; n_carried: of the states'
    views, and of what is handed from level to level; n_widths: of the decoders at 1/4 and at 1/2;
    n_deep: of what the former sees of its surroundings, see ``layers.Hourglass``.

    Both sources have two axes between them.
    """

    def __init__(
        self,
        n_features: tuple[int, int],
        n_carried: int,
        n_widths: tuple[int, int],
        n_deep: Sequence[int] = (),
    ) -> None:
        super().__init__()
        half, quarter = n_features
        # Corrections: both flows (4), log-odds of the first source, two axes (4).
        n_seen = 2 * quarter + 2 * n_carried + 14
        self.coarse = Decoder(n_seen, n_widths[0], 3, 9, n_carried, n_deep)
        self.fine = Decoder(2 * half + n_carried + 12, n_widths[1], 2, 9, n_carried)

    def forward(
        self,
        sources: tuple[Source, Source],
        views: tuple[Tensor, Tensor],
        trust: Tensor,
        clock: Tensor,
    ) -> Sketch:
        """Decide on one frame.

        views: of the states, at the target, (B, carried, H/4, W/4); trust: log-odds of the first
        source and both agreements, (B, 3, H/2, W/2); clock: (B, 3, 1, 1) weight of each source and
        whether this is a forecast.
        """
        one, two = sources
        half, quarter = read_size(one.features[0]), read_size(one.features[1])
        motions = torch.cat((one.flow, two.flow, *one.axes, *two.axes), 1)  # (B, 8, H/2, W/2)
        logit = trust[:, :1]

        def look(level: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            seen = rescale_flows(motions, size)
            first, second = seen[:, :2], seen[:, 2:4]
            return (
                warp(one.features[level].float(), first),
                warp(two.features[level].float(), second),
                seen[:, :4] / 8,
                seen[:, 4:] / 8,
            )

        def correct(by: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
            moved = torch.cat((by[:, :4], by[:, 5:]), 1)
            return motions + rescale_flows(moved, half), logit + resize(by[:, 4:5], size)

        *seen, flows, axes = look(1, quarter)
        plane = clock.expand(-1, -1, *quarter)
        correction, carried = self.coarse(*seen, *views, flows, resize(trust, quarter), plane, axes)
        motions, logit = correct(correction, half)
        assert carried is not None
        *seen, flows, axes = look(0, half)
        plane = clock.expand(-1, -1, *half)
        correction, carried = self.fine(
            *seen, resize(carried.float(), half), flows, logit, plane, axes
        )
        motions, logit = correct(correction, half)
        assert carried is not None
        first, second, *axes_of_all = motions.split(2, 1)
        n_first = len(one.axes)
        return Sketch(
            flows=(first, second),
            axes=(
                (*axes_of_all[:n_first], *one.surprises),
                (*axes_of_all[n_first:], *two.surprises),
            ),
            logit=logit,
            carried=carried.float(),
        )
