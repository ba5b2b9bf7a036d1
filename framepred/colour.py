"""Pictures between a video's own pixel format and RGB, with the stream's own matrix and range.

The arithmetic is numpy in float32 rather than swscale: swscale wraps around in 16-bit RGB and
loses the place of the chroma samples on the way back. It is used only to repack exotic layouts
(NV12, packed YUV, big-endian, palettes) into planes, which changes no sample.

Large pictures are worked on in strips of rows that fit into a processor's cache: whole planes of
floats would go through memory at every step. Where chroma lies is told in ``chroma``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
from av.error import FFmpegError
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from .chroma import enlarge_columns, enlarge_rows, shrink_columns, shrink_rows, widen
from .errors import MediaError

__all__ = [
    "Frame",
    "Image",
    "Plane",
    "Unread",
    "bit_depth",
    "find_equal_layouts",
    "from_rgb",
    "limit_samples",
    "make_blank",
    "read_thumbnail",
    "repack",
    "to_rgb",
]

Image = NDArray[np.uint8] | NDArray[np.uint16]
Plane = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture with its time.

    ``native`` belongs to ``video`` and ``colour`` alone; ``time`` is Fraction seconds as in the
    container, as is ``duration`` (0: unknown); ``index`` counts from 0 in presentation order (-1:
    made, not decoded).
    ``lacks_reference``: by its number, one was lost that it may be predicted from. ``packet``: the
    place of its packet among the video's, in the order of storage; known of raw streams only.
    ``concealed``: (H, W), where it rests on what the decoder made up; None if nobody looked.
    ``prediction``: (H, W, 3) RGB, the picture without what is spoilt in it, which may be nothing;
    None if it cannot be had so, or nobody looked.
    """

    native: VideoFrame
    time: Fraction
    index: int
    duration: Fraction = Fraction(0)
    is_corrupt: bool = False
    is_key: bool = False
    lacks_reference: bool = False
    packet: int | None = None
    concealed: NDArray[np.bool_] | None = None
    prediction: Image | None = None


@dataclass(frozen=True)
class Unread:
    """A frame that was not decoded: its index and its time, as ``Frame`` has them."""

    index: int
    time: Fraction


@dataclass(frozen=True)
class _Layout:
    """A pixel format as planes: what to repack to, and how samples become numbers."""

    planar: str  # the planar pixel format that holds exactly the same samples
    kind: Literal["gray", "yuv", "rgb"]
    bits: int
    step_x: int  # luma columns per chroma column: 1, 2 or 4
    step_y: int
    has_alpha: bool


_SUBSAMPLING = {
    (1, 1): "444",
    (2, 1): "422",
    (2, 2): "420",
    (1, 2): "440",
    (4, 1): "411",
    (4, 4): "410",
}
# Kr and Kb by FFmpeg's AVColorSpace.
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.470BG
    6: (0.299, 0.114),  # SMPTE 170M
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020, non-constant luminance
    10: (0.2627, 0.0593),  # constant luminance: treated alike, exact on the way there and back
}
_YCGCO = 8
_FULL_RANGE = 2
_STRIP_PIXELS = 2**18  # of a strip: a plane of floats takes a megabyte
_STRIP_STEP = 16  # rows: a multiple of every subsampling
_local = threading.local()


def bit_depth(pixels: VideoFormat) -> int:
    """Bits of the deepest component."""
    return max((c.bits for c in pixels.components), default=8)


def find_loss(name: str, kept_as: str) -> str | None:
    """What of pictures in pixel format ``name`` those in another cannot hold; None: nothing."""
    if name == kept_as:
        return None
    try:
        given, kept = _lay_out(name), _lay_out(kept_as)
    except MediaError:
        return None  # nobody can tell
    if given.bits > kept.bits:
        return f"{given.bits} bits"
    if given.kind != "gray" and kept.kind == "gray":
        return "colour"
    is_seen_through = given.has_alpha and not VideoFormat(name, 16, 16).has_palette
    return "transparency" if is_seen_through and not kept.has_alpha else None


def find_equal_layouts(name: str, others: Iterable[str]) -> list[str]:
    """Those of the pixel formats ``others`` that hold exactly the samples of ``name``."""
    try:
        wanted = _lay_out(name)
    except MediaError:
        return []
    if bit_depth(VideoFormat(name, 16, 16)) != wanted.bits or VideoFormat(name, 16, 16).has_palette:
        return []  # palettes and formats below 8 bits have no equal
    found = []
    for other in others:
        try:
            layout = _lay_out(other)
        except MediaError:
            continue
        pixels = VideoFormat(other, 16, 16)
        same = bit_depth(pixels) == wanted.bits and not pixels.has_palette
        same = same and layout.has_alpha == wanted.has_alpha
        if same and layout.planar.replace("yuvj", "yuv") == wanted.planar.replace("yuvj", "yuv"):
            found.append(other)
    return found


def to_rgb(frame: Frame) -> Image:
    """Convert a frame to RGB with its own matrix and range.

    Returns (H, W, 3): uint8 over 0..255 for formats of 8 bits, uint16 over 0..65535 for deeper
    ones. Untagged pictures count as BT.709 from 720 lines on, else as BT.601, as players do.
    Alpha is dropped.

    Raises:
        MediaError: a pixel format that cannot be read as planes (Bayer, XYZ, hardware).
    """
    native = frame.native
    layout = _lay_out(native.format.name)
    planes = _read_planes(repack(native, layout.planar), layout)
    top = 255 if layout.bits <= 8 else 65535
    dtype = np.uint8 if top == 255 else np.uint16
    image = np.empty((native.height, native.width, 3), dtype)
    offset, scale_y, scale_c = _read_range(native, layout)
    strips = _cut_strips(native)
    if layout.kind == "rgb":
        factor = np.float32(top / (2**layout.bits - 1))
        for rows in strips:
            for channel, plane in zip((1, 2, 0), planes, strict=False):  # planes are G, B, R
                _store(plane[rows].astype(np.float32) * factor, image[rows], channel)
        return image
    if layout.kind == "gray":
        for rows in strips:
            luma = _scale(planes[0][rows], offset, top / scale_y)
            for channel in range(3):
                _store(luma.copy(), image[rows], channel)
        return image
    middle = float(2 ** (layout.bits - 1))
    weights = np.linalg.inv(_make_matrix(native)) * (top / scale_c)

    def mix(channel: int, part: slice) -> Plane:
        """What the chroma of some of its rows adds to a channel: the fewer places, the faster."""
        value = _scale(planes[2][part], middle, weights[channel, 2])
        if weights[channel, 1]:  # red has nothing of it, but in YCgCo
            value += _scale(planes[1][part], middle, weights[channel, 1])
        return value

    for rows in strips:
        luma = _scale(planes[0][rows], offset, top / scale_y)
        for channel in range(3):
            value = enlarge_rows(partial(mix, channel), rows, layout.step_y)
            value = enlarge_columns(value, layout.step_x, native.width)
            value += luma  # the first column of the inverse is all ones
            _store(value, image[rows], channel)
    return image


def from_rgb(image: Image, *, like: Frame, time: Fraction) -> Frame:
    """Make a frame at ``time`` from RGB in the pixel format, range and matrix of ``like``.

    image: (H, W, 3) of the size of ``like``, uint8 (0..255) or uint16 (0..65535). Alpha, where
    the format has it, is that of ``like``.

    Raises:
        MediaError: a pixel format that cannot be written from planes.
    """
    native = like.native
    layout = _lay_out(native.format.name)
    if image.shape != (native.height, native.width, 3):
        raise ValueError(
            f"image must be ({native.height}, {native.width}, 3) like its frame, got {image.shape}"
        )
    if image.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"image must be uint8 or uint16, got {image.dtype}")
    top = 255 if image.dtype == np.uint8 else 65535
    made = make_blank(native, layout.planar)
    offset, scale_y, scale_c = _read_range(native, layout)
    targets = _view_samples(made, layout)
    if layout.kind == "rgb":
        peak = 2**layout.bits - 1
        for rows in _cut_strips(native):
            for target, channel in zip(targets, (1, 2, 0), strict=True):  # planes are G, B, R
                plane = image[rows, :, channel].astype(np.float32)
                plane *= np.float32(peak / top)
                _store_samples(plane, target[rows], layout.bits)
    else:
        matrix = _make_matrix(native) if layout.kind == "yuv" else np.full((3, 3), 1 / 3)
        matrix *= np.array([[scale_y], [scale_c], [scale_c]]) / top
        for rows in _cut_strips(native):
            wide = widen(rows, layout.step_y, native.height)
            colours = [image[wide, :, channel].astype(np.float32) for channel in range(3)]
            inner = slice(rows.start - wide.start, rows.stop - wide.start)
            luma = _mix(matrix[0], *(colour[inner] for colour in colours))
            luma += offset
            _store_samples(luma, targets[0][rows], layout.bits)
            for target, weights in zip(targets[1:], matrix[1:], strict=False):
                plane = shrink_columns(_mix(weights, *colours), layout.step_x)
                plane = shrink_rows(plane, wide, rows, layout.step_y)
                plane += 2 ** (layout.bits - 1)
                first = rows.start // layout.step_y
                _store_samples(plane, target[first : first + len(plane)], layout.bits)
    if layout.has_alpha and layout.kind != "gray":
        source = repack(native, layout.planar)
        made.planes[-1].update(_fit(source.planes[-1], made.planes[-1].line_size))
    _copy_tags(native, made)
    made = repack(made, native.format.name)
    if layout.has_alpha and layout.kind == "gray":
        _copy_second_samples(native, made)
    return Frame(native=made, time=time, index=-1)


def _copy_second_samples(native: VideoFrame, made: VideoFrame) -> None:
    """Of pictures with two samples a pixel, one behind the other, take over the second ones."""
    n_bytes = 2 if bit_depth(native.format) > 8 else 1
    place = made.planes[0]
    samples, given = (
        np.frombuffer(bytes(plane), np.uint8)[: native.height * plane.line_size]
        .reshape(native.height, -1)[:, : native.width * 2 * n_bytes]
        .reshape(native.height, native.width, 2, n_bytes)
        for plane in (place, native.planes[0])
    )
    samples = samples.copy()
    samples[:, :, 1] = given[:, :, 1]
    padded = np.zeros((native.height, place.line_size), np.uint8)
    padded[:, : native.width * 2 * n_bytes] = samples.reshape(native.height, -1)
    place.update(_pad(padded.tobytes(), place.buffer_size))


def read_thumbnail(frame: Frame, *, width: int = 160) -> Plane:
    """Average whole blocks of pixels into a small picture of the luma.

    Returns (h, w) float32 over 0..255 (full range, whatever the stream's), w at most ``width``.
    """
    native = frame.native
    layout = _lay_out(native.format.name)
    planar = repack(native, layout.planar)
    plane = _read_planes(planar, layout)[0]  # green stands for the luma of RGB
    size = max(1, -(-native.width // width))
    rows = plane.shape[0] // size * size or plane.shape[0]
    columns = plane.shape[1] // size * size or plane.shape[1]
    small = _add_rows(plane[:rows, :columns], min(size, rows))
    small = np.add.reduceat(small, np.arange(0, columns, size), axis=1, dtype=np.float64)
    area = min(size, rows) * min(size, columns)
    offset, scale, _ = _read_range(native, layout)
    result: Plane = ((small / area - offset) * (255 / scale)).clip(0, 255).astype(np.float32)
    return result


def _add_rows(plane: NDArray[Any], size: int) -> NDArray[Any]:
    """The sums over every ``size`` rows, exactly; their number is a multiple of it."""
    # The narrower the numbers, the more of them a processor adds at once. A sample may lie beyond
    # the bit depth, but not beyond its type.
    wide = np.uint16 if size * np.iinfo(plane.dtype).max < 2**16 else np.uint32
    sums = plane[::size].astype(wide)
    for row in range(1, size):
        np.add(sums, plane[row::size], out=sums)
    return sums


@lru_cache(maxsize=64)
def _lay_out(name: str) -> _Layout:
    """Find the planar format with the same samples as the pixel format ``name``."""
    pixels = VideoFormat(name, 16, 16)
    bits = bit_depth(pixels)
    alpha = any(c.is_alpha for c in pixels.components)
    if pixels.has_palette:
        return _Layout("gbrap", "rgb", 8, 1, 1, has_alpha=True)
    if bits > 16:  # float formats: as good as 16 bits here
        bits = 16
    deep = f"{bits}le" if bits > 8 else ""
    if pixels.is_rgb:
        if bits < 8:  # 5-6-5 and the like
            bits = 8
        return _Layout(f"gbr{'a' if alpha else ''}p{deep}", "rgb", bits, 1, 1, has_alpha=alpha)
    n_colours = sum(not c.is_alpha for c in pixels.components)
    if n_colours == 1:  # whose alpha has no plane of its own
        return _Layout(f"gray{deep}", "gray", max(bits, 8), 1, 1, has_alpha=alpha)
    steps = (16 // pixels.chroma_width(16), 16 // pixels.chroma_height(16))
    if n_colours != 3 or steps not in _SUBSAMPLING or bits < 8:
        raise MediaError(f"pixel format {name}: cannot be read as planes; convert the video first")
    if name.startswith("yuvj"):
        planar = name
    else:
        planar = f"yuv{'a' if alpha else ''}{_SUBSAMPLING[steps]}p{deep}"
    return _Layout(planar, "yuv", bits, steps[0], steps[1], has_alpha=alpha)


def repack(native: VideoFrame, name: str) -> VideoFrame:
    """Move a picture's samples into another layout of the same samples.

    Raises:
        MediaError: swscale knows no way between the two.
    """
    if native.format.name == name:
        return native
    if not hasattr(_local, "reformatter"):
        # One a thread, for good: PyAV 18 keeps megabytes for each one that a frame owns.
        _local.reformatter = VideoReformatter()
    reformatter: VideoReformatter = _local.reformatter
    given = native.color_range, native.colorspace
    try:
        same_range = given[0] or 1
        made = reformatter.reformat(
            native, format=name, src_color_range=same_range, dst_color_range=same_range, threads=1
        )
    except (FFmpegError, ValueError) as error:
        raise MediaError(
            f"pixel format {native.format.name}: cannot be repacked as {name} ({error}); "
            "convert the video first"
        ) from error
    made.color_range, made.colorspace = given
    return made


def limit_samples(native: VideoFrame) -> VideoFrame:
    """The picture itself, or if it holds samples beyond its bit depth a copy with the greatest.

    Decoders put 0x8080 in the place of missing pictures, whatever the depth. An encoder that takes
    that at its word writes a stream that does not decode, up to its next key frame.
    """
    layout = _lay_out(native.format.name)
    top = 2**layout.bits - 1
    if layout.planar != native.format.name or top in (255, 65535):
        return native
    planes = _read_planes(native, layout)
    if all(int(plane.max(initial=0)) <= top for plane in planes):
        return native
    made = make_blank(native, layout.planar)
    for index, plane in enumerate(planes):
        _write_plane(made, index, plane.astype(np.float32), layout.bits)
    if layout.has_alpha:
        made.planes[-1].update(_fit(native.planes[-1], made.planes[-1].line_size))
    _copy_tags(native, made)
    made.pts, made.duration = native.pts, native.duration
    if native.time_base is not None:
        made.time_base = native.time_base
    return made


def have_equal_samples(one: VideoFrame, other: VideoFrame) -> bool:
    """Whether two native pictures of planar formats are of one format and size, and the same."""
    formats = [(native.format.name, native.width, native.height) for native in (one, other)]
    if formats[0] != formats[1]:
        return False
    n_bytes = (one.format.components[0].bits + 7) // 8
    return all(
        np.array_equal(_read_samples(plane, n_bytes), _read_samples(twin, n_bytes))
        for plane, twin in zip(one.planes, other.planes, strict=True)
    )


def _read_samples(plane: VideoPlane, n_bytes: int) -> NDArray[np.uint8]:
    """A view of a plane's bytes without padding; a sample has ``n_bytes``."""
    rows: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8)
    return rows.reshape(-1, plane.line_size)[: plane.height, : plane.width * n_bytes]


def _copy_tags(native: VideoFrame, made: VideoFrame) -> None:
    made.color_range = native.color_range
    made.colorspace = native.colorspace
    made.color_primaries = native.color_primaries
    made.color_trc = native.color_trc


def make_blank(native: VideoFrame, name: str) -> VideoFrame:
    """A picture of the same size, whose samples mean nothing; interlaced like the other one."""
    if not native.interlaced_frame:
        return VideoFrame(native.width, native.height, name)
    other = "gray" if native.format.name != "gray" else "yuv420p"
    return repack(repack(native, other), name)  # PyAV can set no flags, but it copies them


def _read_planes(planar: VideoFrame, layout: _Layout) -> list[NDArray[Any]]:
    """Views of the colour planes, (h, w) uint8 or uint16, without padding."""
    dtype = np.dtype(np.uint8 if layout.bits <= 8 else "<u2")
    views = []
    for plane in planar.planes[:3]:
        data = np.frombuffer(memoryview(plane), dtype).reshape(
            -1, plane.line_size // dtype.itemsize
        )
        views.append(data[: plane.height, : plane.width])
    return views


def _write_plane(made: VideoFrame, index: int, values: Plane, bits: int) -> None:
    """Round (halves up), clip and store one plane."""
    plane = made.planes[index]
    dtype = np.dtype(np.uint8 if bits <= 8 else "<u2")
    values += 0.5
    np.clip(values, 0, 2**bits - 1, out=values)
    data = np.zeros((plane.height, plane.line_size // dtype.itemsize), dtype)
    data[:, : plane.width] = values
    plane.update(_pad(data.tobytes(), plane.buffer_size))


def _view_samples(made: VideoFrame, layout: _Layout) -> list[NDArray[Any]]:
    """The colour planes of a new picture as arrays to be filled, their padding made zero."""
    dtype = np.dtype(np.uint8 if layout.bits <= 8 else "<u2")
    views = []
    for plane in made.planes[: 1 if layout.kind == "gray" else 3]:
        data = np.frombuffer(memoryview(plane), dtype).reshape(
            -1, plane.line_size // dtype.itemsize
        )
        data[:, plane.width :] = 0
        views.append(data[: plane.height, : plane.width])
    return views


def _store_samples(values: Plane, target: NDArray[Any], bits: int) -> None:
    """Round (halves up), clip and store samples; ``values`` is used up."""
    values += 0.5
    np.clip(values, 0, 2**bits - 1, out=values)
    target[...] = values


def _fit(plane: Any, line_size: int) -> bytes:
    data = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    wide = np.zeros((data.shape[0], line_size), np.uint8)
    n = min(line_size, plane.line_size)
    wide[:, :n] = data[:, :n]
    return wide.tobytes()


def _pad(data: bytes, size: int) -> bytes:
    return data if len(data) == size else data.ljust(size, b"\0")[:size]


def _store(values: Plane, image: Image, channel: int) -> None:
    """Round (halves up), clip and store one channel; ``values`` is used up."""
    values += 0.5
    np.clip(values, 0, np.iinfo(image.dtype).max, out=values)
    # To take every third place costs less for whole numbers than for the floats.
    image[..., channel] = values.astype(image.dtype)


def _cut_strips(native: VideoFrame) -> list[slice]:
    """The rows of a picture in strips, which begin where chroma rows do."""
    height = native.height
    n_rows = max(_STRIP_PIXELS // native.width // _STRIP_STEP, 1) * _STRIP_STEP
    return [slice(top, min(top + n_rows, height)) for top in range(0, height, n_rows)]


def _scale(samples: NDArray[Any], black: float, factor: float) -> Plane:
    values: Plane = samples.astype(np.float32)
    values -= black
    values *= factor
    return values


def _mix(weights: NDArray[np.float64], red: Plane, green: Plane, blue: Plane) -> Plane:
    value = red * np.float32(weights[0])
    value += green * np.float32(weights[1])
    value += blue * np.float32(weights[2])
    return value


def _read_range(native: VideoFrame, layout: _Layout) -> tuple[float, float, float]:
    """Code value of black, and the code values that luma and chroma span."""
    peak = float(2**layout.bits - 1)
    full = native.color_range == _FULL_RANGE or native.format.name.startswith("yuvj")
    if layout.kind == "rgb" or full or (layout.kind == "gray" and native.color_range == 0):
        return 0.0, peak, peak
    unit = float(2 ** (layout.bits - 8))
    return 16 * unit, 219 * unit, 224 * unit


def _make_matrix(native: VideoFrame) -> NDArray[np.float64]:
    """The 3x3 matrix from RGB in 0..1 to luma in 0..1 and chroma in -0.5..0.5."""
    space = int(native.colorspace)
    if space == _YCGCO:
        return np.array([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0.0, -0.5]])
    kr, kb = _LUMA_WEIGHTS.get(space, _LUMA_WEIGHTS[1 if native.height >= 720 else 6])
    luma = np.array([kr, 1 - kr - kb, kb])
    return np.stack(
        [
            luma,
            (np.array([0.0, 0.0, 1.0]) - luma) / (2 * (1 - kb)),
            (np.array([1.0, 0.0, 0.0]) - luma) / (2 * (1 - kr)),
        ]
    )
