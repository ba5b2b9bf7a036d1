"""Colour conversion in strips: whatever their height, the samples are those of a whole picture."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from framepred import colour
from framepred.chroma import enlarge_rows, shrink_rows, widen
from framepred.colour import Frame, from_rgb, read_thumbnail, to_rgb

FORMATS = ["yuv420p", "yuv410p", "yuv411p", "yuv440p", "yuv444p", "yuv420p10le", "gray", "gbrp"]
SIZES = [(96, 40), (83, 33), (5, 7), (1, 1)]


def make_frame(name: str, height: int, width: int, *, most: int | None = None) -> Frame:
    """Noise over the whole range of the format, or up to ``most``."""
    native = VideoFrame(width, height, name)
    rng = np.random.default_rng(height)
    dtype = np.dtype("<u2" if name.endswith("le") else "u1")
    top = most or (1023 if name.endswith("le") else 255)
    for plane in native.planes:
        samples: NDArray[np.generic] = np.frombuffer(memoryview(plane), dtype)
        samples[:] = rng.integers(0, top + 1, samples.size)
    return Frame(native, Fraction(0), 0)


def read_samples(frame: Frame) -> list[NDArray[np.uint8]]:
    rows = [
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        for plane in frame.native.planes
    ]
    return [part.copy() for part in rows]


@pytest.mark.parametrize(
    ("name", "kept_as", "loss"),
    [
        ("rgb24", "rgb24", None),
        ("rgb48be", "rgb24", "16 bits"),
        ("rgb24", "rgb48be", None),
        ("yuv420p10le", "yuv420p", "10 bits"),
        ("yuvj420p", "yuv420p", None),
        ("gray", "rgb24", None),
        ("rgb24", "gray", "colour"),
        ("rgba", "rgb24", "transparency"),
        ("pal8", "rgb24", None),
        ("nv12", "yuv420p", None),
        ("bayer_rggb8", "rgb24", None),
    ],
)
def test_what_one_format_cannot_hold_of_another(name: str, kept_as: str, loss: str | None) -> None:
    assert colour.find_loss(name, kept_as) == loss


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FORMATS)
def test_strips_make_the_same_samples(
    monkeypatch: pytest.MonkeyPatch, name: str, size: tuple[int, int]
) -> None:
    frame = make_frame(name, *size)
    image = to_rgb(frame)
    noise = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    made = read_samples(from_rgb(noise, like=frame, time=Fraction(1)))

    monkeypatch.setattr(colour, "_STRIP_PIXELS", 1)

    assert np.array_equal(to_rgb(frame), image)
    again = read_samples(from_rgb(noise, like=frame, time=Fraction(1)))
    assert all(np.array_equal(*pair) for pair in zip(again, made, strict=True))


@pytest.mark.parametrize("step", [1, 2, 4])
@pytest.mark.parametrize("height", [64, 61])
def test_rows_know_their_neighbours(step: int, height: int) -> None:
    rng = np.random.default_rng(0)
    small = rng.random((-(-height // step), 3), np.float32)
    large = rng.random((height, 3), np.float32)
    whole = slice(0, height)

    def read(part: slice) -> NDArray[np.float32]:
        return small[part].copy()

    enlarged = enlarge_rows(read, whole, step)
    shrunk = shrink_rows(large, whole, whole, step)
    for top in range(0, height, 16):
        rows = slice(top, min(top + 16, height))
        wide = widen(rows, step, height)
        assert np.array_equal(enlarge_rows(read, rows, step), enlarged[rows])
        cells = slice(top // step, -(-rows.stop // step))
        assert np.array_equal(shrink_rows(large[wide], wide, rows, step), shrunk[cells])


def test_thumbnails_add_up_samples_beyond_the_bit_depth() -> None:
    """A decoder fills missing pictures with 0x8080, which is no number of ten bits."""
    native = make_frame("gray10le", 48, 480, most=0x8080).native
    samples = np.frombuffer(memoryview(native.planes[0]), "<u2").reshape(48, -1)[:, :480]
    blocks = samples.reshape(16, 3, 160, 3).mean((1, 3), dtype=np.float64) / 1023 * 255

    thumbnail = read_thumbnail(Frame(native, Fraction(0), 0))

    assert np.array_equal(thumbnail, blocks.clip(0, 255).astype(np.float32))
