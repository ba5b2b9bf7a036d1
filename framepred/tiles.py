"""Large pictures tile by tile: motion is found once, on small copies, and colours are put together.

::

    known pictures --shrunk--> network --> sketches: motion, shares, on grids of the small copies
    nearest pictures, at full size ----------> tile | tile | tile ...

All that looks far (features, flow, the recurrent state, both corrections of the motion) happens on
the small copies, for the whole picture at once: no tile sees a motion of its own, and none is torn.
Only the end of the network works at full size. It looks no farther than a few pixels around, by
which tiles are made larger than they are kept; and where a tile's points come from is read out of
the whole known picture, however far they have moved. So what is made does not depend on the tiles.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .composition import Sketch, blend, find_sources
from .errors import ModelError
from .grids import choose_scale, list_values, pad, read_size
from .memory import free_bytes
from .model import FramePredictor
from .planes import Images, to_images, to_planes
from .replays import Replays
from .sights import Memory
from .warping import rescale_flow, resize, warp_spread

__all__ = ["SMALLEST_TILE", "Tiling", "is_out_of_memory", "make_large"]

_log = logging.getLogger(__name__)

SMALLEST_TILE = 64  # pixels a side: below this tiles are mostly what they are made larger by

_LARGEST_TILES = {"cpu": 1024, "cuda": 4096}  # pixels a side; larger ones are no faster
_TILE_BYTES = 500  # a pixel of a tile; 420 was the most measured, at sides of 1024 and 2048
_PLANE_BYTES = 12  # a pixel of a picture, as floats
_SMALLEST_COPY = 64  # pixels of the shorter side: on less no motion is found
_STRIP_BYTES = 2**25  # of a picture, as floats, that is shrunk at once


class Tiling:
    """How large tiles are, and how often memory has run out on them.

    side: in pixels, at least ``SMALLEST_TILE``; None for pictures made whole; "auto" for the size
    that free memory has room for, at most the one beyond which nothing is gained.

    Where memory runs out on the small copies that motion is found on, they are halved.
    """

    def __init__(self, side: int | str | None = "auto") -> None:
        if isinstance(side, str) and side != "auto":
            raise ValueError(f"expected a tile of 'auto', None or pixels, got {side!r}")
        if isinstance(side, int) and side < SMALLEST_TILE:
            raise ValueError(f"expected a tile of at least {SMALLEST_TILE} pixels, got {side}")
        self._wish = side
        self.side: int | None = None  # that is in use; None: no picture was made in tiles yet
        self.n_halvings = 0
        self.n_motion_halvings = 0  # of the small copies

    @property
    def is_off(self) -> bool:
        """Whether pictures of all sizes are made whole."""
        return self._wish is None

    def is_needed(self, device: torch.device, size: tuple[int, int], n_pictures: int) -> bool:
        """Whether so many pictures (height, width), known and made, are too much at once.

        On a CPU all that are large are: it gains nothing by more at once.
        """
        if device.type != "cuda" or isinstance(self._wish, int):
            return True
        free = _count_free(device)
        wanted = (_TILE_BYTES + _PLANE_BYTES * n_pictures) * size[0] * size[1]
        return max(size) > self.choose(device) or free is None or 2 * wanted > free

    def choose(self, device: torch.device) -> int:
        """Side of the tiles, in pixels; once chosen it stays until memory runs out."""
        if isinstance(self._wish, int):
            return self._wish
        if self.side is not None:
            return self.side
        side = _LARGEST_TILES.get(device.type, 1024)
        free = _count_free(device)
        while free is not None and side > SMALLEST_TILE and 2 * _TILE_BYTES * side**2 > free:
            side //= 2
        if free is not None:
            _log.info("%.1f GB are free on %s", free / 1e9, device)
        return side

    def halve(self) -> None:
        """Make tiles of half the side from now on, since memory has run out.

        Raises ModelError if they are as small as can be.
        """
        if self.side is None or self.side <= SMALLEST_TILE:
            raise ModelError(
                f"memory ran out on tiles of {self.side} pixels already: close other programs, or "
                "use another --device"
            )
        self.n_halvings += 1
        self.side = self._wish = max(SMALLEST_TILE, self.side // 2)

    def halve_motion(self, shorter_side: int) -> None:
        """Find motion on copies of half the size from now on, since memory has run out.

        shorter_side: of the copies that it ran out on. Raises ModelError if they are as small as
        can be.
        """
        if shorter_side < 2 * _SMALLEST_COPY:
            raise ModelError(
                f"memory ran out on small copies of {shorter_side} lines already: close other "
                "programs, or use another --device"
            )
        self.n_motion_halvings += 1


def _count_free(device: torch.device) -> int | None:
    """Bytes that can still be taken on a device; None where nobody knows."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free_bytes()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch lacks memory on a device, or on the CPU, where it has no error of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


@dataclass(frozen=True)
class _Region:
    """Pixels ``[top, bottom)`` x ``[left, right)`` of a picture."""

    top: int
    bottom: int
    left: int
    right: int

    def grow(self, margin: int, height: int, width: int) -> _Region:
        """The region with a margin, as far as a picture of this size goes."""
        return _Region(
            max(0, self.top - margin),
            min(height, self.bottom + margin),
            max(0, self.left - margin),
            min(width, self.right + margin),
        )


def make_large(
    model: FramePredictor,
    before: Sequence[Images],
    after: Sequence[Images],
    n_frames: int,
    *,
    steps: Sequence[int] | None = None,
    memory: Memory | None,
    latent: Tensor | None,
    device: torch.device,
    tiling: Tiling,
    replays: Replays,
) -> Images:
    """What ``model`` makes of large pictures, in bounded memory.

    before, after: (H, W, 3) uint8 or uint16 each, of one size, one side may be empty; the shorter
    side has ``choose_scale`` above 1. steps: which of the n_frames to make, from 1 on; default:
    all. Returns (len(steps), H, W, 3) of the same type; apart from rounding the same as without
    tiles, whatever their size.

    Raises ModelError if memory runs out on the smallest tiles, or the smallest copies.
    """
    known = [image for side in (before, after) for image in side]
    height, width = known[0].shape[:2]
    name = ("sketch", model.traits, n_frames, None if steps is None else tuple(steps))

    def draw(one: Tensor | None, two: Tensor | None, drawn: Tensor | None) -> list[Sketch]:
        return model.sketch(one, two, n_frames, steps=steps, memory=memory, latent=drawn)

    def look(scale: int) -> list[Sketch] | None:
        """What the small copies show; None if memory runs out on them."""
        try:
            small = torch.cat([_shrink(image, scale, device) for image in known])
            parts = small.tensor_split([len(before)])
            sides = [part.unsqueeze(0) if len(part) else None for part in parts]
            return replays.run(name, draw, (*sides, latent))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None

    scale = choose_scale(height, width) << tiling.n_motion_halvings
    while (sketches := look(scale)) is None:
        tiling.halve_motion(min(height, width) // scale)
        scale *= 2
        replays.forget()
        if memory is not None:
            memory.forget()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    one, two = find_sources(n_before=len(before), n_after=len(after))
    sources = (known[one], known[two])
    made = np.empty((len(sketches), height, width, 3), known[0].dtype)
    if tiling.side is None:
        tiling.side = tiling.choose(device)
        _log.info("made in tiles of %d pixels: %dx%d is large", tiling.side, width, height)
    for sketch, image in zip(sketches, made, strict=True):
        composer = _Composer(model.finish, sources, sketch, scale)
        while not _compose_all(composer, image, tiling.side):
            # Outside of the error's handler, where its traceback would keep tensors alive.
            tiling.halve()
            if device.type == "cuda":
                torch.cuda.empty_cache()
    return made


def _compose_all(composer: _Composer, image: Images, side: int) -> bool:
    """Fill a picture (H, W, 3) tile by tile; False if memory runs out."""
    for region in _lay_tiles(image.shape[0], image.shape[1], side):
        try:
            part = composer.compose(region)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return False
        image[region.top : region.bottom, region.left : region.right] = part
    return True


def _lay_tiles(height: int, width: int, side: int) -> list[_Region]:
    """Cover a picture with tiles of nearly one size, none longer than ``side``, on even pixels."""

    def cut(length: int) -> Iterator[tuple[int, int]]:
        n_pairs = -(-length // 2)
        n = -(-length // side)
        edges = [min(length, 2 * (n_pairs * k // n)) for k in range(n + 1)]
        edges[-1] = length
        yield from pairwise(edges)

    return [_Region(*rows, *columns) for rows in cut(height) for columns in cut(width)]


def _shrink(image: Images, scale: int, device: torch.device) -> Tensor:
    """(H, W, 3) whole numbers -> (1, 3, h, w) float32 in [0, 1], padded as the network would."""
    tall, _ = read_size(pad(torch.empty(1, 1, 3, *image.shape[:2], device="meta"), scale))
    n_rows = max(1, _STRIP_BYTES // (image[0].size * 4 * scale)) * scale
    strips = []
    for top in range(0, tall, n_rows):
        rows = np.arange(top, min(top + n_rows, tall)).clip(max=len(image) - 1)
        planes = to_planes(image[rows][None], device)
        wide = pad(planes.unsqueeze(0), scale)[0, :, :, : len(rows)]
        strips.append(F.avg_pool2d(wide, scale))
    return torch.cat(strips, -2)


class _Composer:
    """Puts one new picture together out of two known ones, region by region."""

    def __init__(
        self,
        finish: nn.Module,
        sources: tuple[Images, Images],  # (H, W, 3) whole numbers
        sketch: Sketch,
        scale: int,
    ) -> None:
        self._finish = finish
        self._sources = sources
        self._sketch = sketch
        self._cell = 2 * scale  # pixels of a picture for one of the sketch
        self._size = tuple(n * self._cell for n in read_size(sketch.logit))  # as padded
        kernels = [
            module.kernel_size for module in finish.modules() if isinstance(module, nn.Conv2d)
        ]
        self._halo = 2 * sum(kernel[0] // 2 for kernel in kernels)  # it works on pairs of pixels

    def compose(self, region: _Region) -> Images:
        """The pixels of a region on even coordinates, (h, w, 3) whole numbers."""
        height, width = self._size
        even = _Region(
            region.top, -(-region.bottom // 2) * 2, region.left, -(-region.right // 2) * 2
        )
        wide = even.grow(self._halo, height, width)
        sketch = self._magnify(wide)
        left, right = (
            self._warp(picture, wide, flow, axes)
            for picture, flow, axes in zip(self._sources, sketch.flows, sketch.axes, strict=True)
        )
        made = blend(self._finish, left, right, sketch.logit, sketch.carried)
        top, left_edge = region.top - wide.top, region.left - wide.left
        inner = made[
            ...,
            top : top + region.bottom - region.top,
            left_edge : left_edge + region.right - region.left,
        ]
        pixels: Images = to_images(inner, self._sources[0].dtype)[0]
        return pixels

    def _magnify(self, region: _Region) -> Sketch:
        """The sketch of a region at the picture's size; what was handed on at half of it."""
        cell = self._cell
        height, width = read_size(self._sketch.logit)
        # A cell more on each side, so that bilinear resizing finds its neighbours.
        cells = _Region(
            region.top // cell,
            -(-region.bottom // cell),
            region.left // cell,
            -(-region.right // cell),
        ).grow(1, height, width)
        size = ((cells.bottom - cells.top) * cell, (cells.right - cells.left) * cell)
        rows = slice(region.top - cells.top * cell, region.bottom - cells.top * cell)
        columns = slice(region.left - cells.left * cell, region.right - cells.left * cell)

        def cut(plane: Tensor) -> Tensor:
            return plane[..., cells.top : cells.bottom, cells.left : cells.right]

        def enlarge(flow: Tensor) -> Tensor:
            return rescale_flow(cut(flow), size)[..., rows, columns]

        halves = [slice(part.start // 2, part.stop // 2) for part in (rows, columns)]
        carried = self._sketch.carried
        if carried is not None:
            carried = resize(cut(carried), (size[0] // 2, size[1] // 2))
            carried = carried[..., halves[0], halves[1]]
        one, two = (tuple(enlarge(axis) for axis in axes) for axes in self._sketch.axes)
        return Sketch(
            flows=(enlarge(self._sketch.flows[0]), enlarge(self._sketch.flows[1])),
            axes=(one, two),
            logit=resize(cut(self._sketch.logit), size)[..., rows, columns],
            carried=carried,
        )

    def _warp(
        self, picture: Images, region: _Region, flow: Tensor, axes: Sequence[Tensor]
    ) -> Tensor:
        """The picture as a region of the new one shows it, (1, 3, h, w)."""
        box = self._find_sources(region, flow, axes)
        inside = to_planes(picture[None, box.top : box.bottom, box.left : box.right], flow.device)
        shown = read_size(inside)  # the rest of the box is what the picture was padded by
        missing = (0, box.right - box.left - shown[1], 0, box.bottom - box.top - shown[0])
        seen = F.pad(inside, missing, mode="replicate")
        # Both on one grid: the region at its upper left corner, its points counted from the box.
        height, width = read_size(flow)
        beyond = (0, box.right - box.left - width, 0, box.bottom - box.top - height)
        corner = (region.left - box.left, region.top - box.top)
        shift = list_values(corner, device=flow.device).view(1, 2, 1, 1)
        warped = warp_spread(seen, F.pad(flow + shift, beyond), [F.pad(a, beyond) for a in axes])
        return warped[..., :height, :width]

    def _find_sources(self, region: _Region, flow: Tensor, axes: Sequence[Tensor]) -> _Region:
        """Where a region's points come from: a box in the picture, no smaller than the region."""
        slack = sum((axis.abs() for axis in axes), torch.zeros_like(flow))
        edges = []
        for dimension, start, stop, length in (
            (1, region.top, region.bottom, self._size[0]),
            (0, region.left, region.right, self._size[1]),
        ):
            axis = torch.arange(start, stop, device=flow.device, dtype=flow.dtype)
            places = flow[0, dimension] + (axis[:, None] if dimension else axis)
            ends = torch.stack(
                ((places - slack[0, dimension]).min(), (places + slack[0, dimension]).max())
            )
            low, high = ends.nan_to_num().clamp(0, length - 1).tolist()
            # Bicubic samples reach two pixels far.
            low, high = max(0, int(low) - 2), min(length, int(high) + 4)
            low = max(0, min(low, length - (stop - start)))
            edges += [low, max(high, low + stop - start)]
        return _Region(*edges)
