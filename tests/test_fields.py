"""Interlaced video: what is made is made field by field, and says so."""

from __future__ import annotations

import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.codec.context import Flags
from blending import BlendPredictor
from synthetic import make_frames

from framepred.fields import by_fields
from framepred.filling import fill_gaps
from framepred.forecasting import forecast
from framepred.pipes import choose_pictures, describe_pictures
from framepred.scanning import scan
from framepred.video import VideoReader, probe, to_rgb

N, HOLES, HEIGHT = 20, (8, 9), 48


class Witness(BlendPredictor):
    """Remembers the shapes that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.heights: set[int] = set()

    def make(self, before: Any, after: Any, n_frames: int) -> Any:
        self.heights |= {before.shape[1], after.shape[1]}
        return super().make(before, after, n_frames)


def weave(n: int) -> list[np.ndarray]:
    """Frames whose rows 1, 3, 5 ... were taken half a step after rows 0, 2, 4 ..."""
    moments = make_frames(2 * n, height=HEIGHT, speed=(2, 0))
    frames = []
    for i in range(n):
        frame = moments[2 * i].copy()
        frame[1::2] = moments[2 * i + 1][1::2]
        frames.append(frame)
    return frames


def write(path: Path, *, codec: str = "mpeg2video", order: str = "tff") -> Path:
    """Write an interlaced clip with a hole; a filter sets the flags that PyAV cannot set."""
    graph = av.filter.Graph()
    base = Fraction(1, 25)
    source = graph.add_buffer(width=64, height=HEIGHT, format="yuv420p", time_base=base)
    mark = graph.add("setfield", f"mode={order}")
    graph.link_nodes(source, mark, graph.add("buffersink")).configure()
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25)
        context = video.codec_context
        context.width, context.height, context.pix_fmt = 64, HEIGHT, "yuv420p"
        context.time_base, context.bit_rate = base, 4_000_000
        context.flags |= Flags.interlaced_dct | Flags.interlaced_me
        context.max_b_frames = 0
        for i, image in enumerate(weave(N)):
            if i in HOLES:
                continue
            native = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            native.pts, native.time_base = i, base
            graph.push(native)
            marked = graph.pull()
            marked.pict_type = 0
            container.mux(video.encode(marked))
        container.mux(video.encode(None))
    return path


def read_flags(path: Path) -> list[tuple[int, int]]:
    program = shutil.which("ffprobe")
    if program is None:
        pytest.skip("ffprobe is not installed")
    done = subprocess.run(
        [program, "-v", "error", "-select_streams", "v:0", "-show_frames", "-of", "json", path],
        check=True,
        capture_output=True,
    )
    frames = json.loads(done.stdout)["frames"]
    return [(frame["interlaced_frame"], frame["top_field_first"]) for frame in frames]


def test_fields_are_predicted_alone_and_woven_together() -> None:
    frames = np.stack(weave(6))
    for height in (HEIGHT, HEIGHT - 1):
        witness = Witness()
        before, after = frames[:3, :height], frames[4:, :height]
        made = by_fields(witness.fill)(before, after, 1)
        assert made.shape == (1, height, 64, 3)
        assert witness.heights == {(height + 1) // 2, height // 2}
        assert witness.calls == 2 * [(3, 2, 1)]
        # This predictor looks at each row alone, so that the parts must be the whole.
        assert np.array_equal(made, BlendPredictor().fill(before, after, 1))


@pytest.mark.parametrize("codec", ["mpeg2video", "libx264"])
@pytest.mark.parametrize("order", ["tff", "bff"])
def test_made_frames_are_interlaced_like_the_others(tmp_path: Path, codec: str, order: str) -> None:
    path = write(tmp_path / "a.ts", codec=codec, order=order)
    flags = (1, int(order == "tff"))
    assert set(read_flags(path)) == {flags}
    assert [(p.gap.start, p.gap.stop) for p in scan(path).plan.gaps] == [(8, 10)]
    witness = Witness()
    report = fill_gaps(path, tmp_path / "b.ts", predictor=witness)
    assert report.frames_made == 2
    assert witness.heights == {HEIGHT // 2}
    assert read_flags(tmp_path / "b.ts") == N * [flags]
    with VideoReader(tmp_path / "b.ts") as reader:
        frames = [to_rgb(frame).astype(int) for frame in reader.read()]
    for slot in HOLES:  # the nearest frames, mixed
        part = Fraction(slot - 7, 3)
        expected = frames[7] * float(1 - part) + frames[10] * float(part)
        assert np.abs(frames[slot] - expected).mean() < 4


def test_a_forecast_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ts")
    witness = Witness()
    forecast(path, tmp_path / "b.ts", n_frames=3, predictor=witness)
    assert witness.heights == {HEIGHT // 2}
    assert read_flags(tmp_path / "b.ts")[-4:] == 4 * [(1, 1)]


@pytest.mark.parametrize("order", ["tff", "bff"])
def test_a_pipe_is_told_which_field_is_first(tmp_path: Path, order: str) -> None:
    info = probe(write(tmp_path / "a.ts", order=order))
    assert info.interlaced
    assert info.is_bottom_first == (order == "bff")
    pictures = choose_pictures(info, Fraction(25))
    assert pictures.interlacing == order[0]
    assert choose_pictures(describe_pictures(pictures), Fraction(25)).interlacing == order[0]
