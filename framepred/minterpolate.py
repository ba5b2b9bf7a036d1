"""FFmpeg's own motion interpolation as a baseline: the filter ``minterpolate``, in this process."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

__all__ = ["interpolate_gap"]

Frames = NDArray[np.uint8]

_TIME_BASE = Fraction(1, 1000)
_SMALLEST_SIDE = 32  # pixels: the filter refuses pictures with fewer than its blocks need
# Bidirectional estimation, variable blocks, overlapped compensation: its best settings; no scene
# change detection, because the caller knows that there is none.
_SETTINGS = "mi_mode=mci:mc_mode=aobmc:me_mode=bidir:me=epzs:vsbmc=1:scd=none"


def interpolate_gap(before: Frames, after: Frames, n_frames: int) -> Frames:
    """Let ``minterpolate`` fill a gap; (T, H, W, 3) uint8 RGB on both sides.

    The filter looks at two frames on each side: where there is one, it is shown twice. Returns
    (n_frames, H, W, 3) uint8. Works in 4:4:4, so that only the filter is judged.
    """
    known = [*(before[-2:] if len(before) > 1 else before[[-1, -1]])]
    known += [*(after[:2] if len(after) > 1 else after[[0, 0]])]
    n_steps = n_frames + 1
    # The gap is one step of the input, a second long: the frames made are its n_steps-th parts.
    height, width = known[0].shape[:2]
    down, right = max(0, _SMALLEST_SIDE - height), max(0, _SMALLEST_SIDE - width)
    known = [np.pad(image, ((0, down), (0, right), (0, 0)), mode="edge") for image in known]
    graph = Graph()
    source = graph.add_buffer(
        width=width + right,
        height=height + down,
        format=av.VideoFormat("yuv444p"),
        time_base=_TIME_BASE,
    )
    chain = graph.add("minterpolate", f"fps={n_steps}:{_SETTINGS}")
    sink = graph.add("buffersink")
    source.link_to(chain)
    chain.link_to(sink)
    graph.configure()
    made: dict[Fraction, Frames] = {}

    def collect() -> None:
        while True:
            try:
                frame = graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            assert isinstance(frame, av.VideoFrame)
            assert frame.pts is not None
            assert frame.time_base is not None
            image = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
            made[frame.pts * frame.time_base] = image

    for second, image in enumerate(known):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv444p")
        frame.pts = second * _TIME_BASE.denominator
        frame.time_base = _TIME_BASE
        graph.push(frame)
        collect()
    graph.push(None)
    collect()
    between = [made[1 + Fraction(k, n_steps)] for k in range(1, n_steps)]
    return np.stack([image[:height, :width] for image in between])
