"""Make small clips by recipe, whole and damaged in the ways that framepred repairs.

    python samples/make_samples.py [OUT_DIR]        (default: samples/media)

The pictures are scikit-image's own (those that it carries, so nothing is downloaded), moved,
turned, zoomed and passing in front of each other. The clips are the same on every run.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data, transform

Picture = NDArray[np.float32]  # (H, W, 3), 0..255
Image = NDArray[np.uint8]  # (H, W, 3)

WIDTH, HEIGHT = 320, 180
N_FRAMES = 96

# Where the damaged versions are damaged, as half-open runs of frame indices of the whole clip.
HOLES = ((12, 13), (24, 26), (38, 41), (52, 56), (70, 78))
FROZEN = ((20, 23), (46, 52), (76, 80))
BLACK = ((40, 43),)
CORRUPT = ((15, 16), (36, 38), (60, 64))
# Steps of the honest variable-rate version, in units of 1/600 s: a phone that dims and recovers.
RHYTHM = (20, 20, 21, 22, 25, 30, 40, 40, 38, 30, 24, 20)


@dataclass(frozen=True)
class Sprite:
    """A picture cut out by a soft ellipse, to be put over a background."""

    picture: Picture
    alpha: NDArray[np.float32]  # (H, W, 1), 0..1


@dataclass(frozen=True)
class Clip:
    """A scene and the container that it is stored in. ``paint`` gets the time in seconds."""

    name: str
    suffix: str
    rate: Fraction
    paint: Callable[[float], Image]
    captions: tuple[str, ...]


def main() -> None:
    """Make all clips and a list of them, ``samples.json``."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "media")
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for clip in (make_pan(), make_crossing(), make_flight()):
        rows += make_versions(clip, folder)
    (folder / "samples.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    n_bytes = sum((folder / row["file"]).stat().st_size for row in rows)
    print(f"{len(rows)} clips, {n_bytes / 1e6:.1f} MB, in {folder}")


# Scenes


def make_pan() -> Clip:
    """A camera that pans and zooms over one picture, with the slight sway of a hand."""
    scenery = load(data.rocket(), width=720)

    def paint(t: float) -> Image:
        x = 190 + 330 * ease(t / 3.9) + 2 * math.sin(5 * t)
        y = 300 - 150 * ease(t / 3.9) + 1.5 * math.sin(7.3 * t + 1)
        return finish(look(scenery, x, y, zoom=1 + 0.25 * math.sin(0.8 * t)))

    return Clip("pan", ".mp4", Fraction(25), paint, ("The tower", "and the rocket", "stand still."))


def make_crossing() -> Clip:
    """Two things that cross before a moving wall, the one behind the other."""
    wall = load(data.brick(), width=640)
    cat = cut_out(load(data.chelsea(), width=230), (112, 88), (70, 62))
    cup = cut_out(load(data.coffee(), width=210), (112, 74), (64, 56))

    def paint(t: float) -> Image:
        canvas = look(wall, 300 + 35 * t, 250 + 8 * math.sin(1.1 * t), zoom=1.1)
        x = 330 - 95 * t
        put(canvas, cup, x, 78 + 14 * math.sin(2.2 * t), angle=0.5 * t, zoom=0.9)
        put(canvas, cat, 20 + 80 * t, 120 - 45 * math.sin(0.9 * t), angle=0.25 * math.sin(2 * t))
        return finish(canvas)

    rate = Fraction(30000, 1001)
    return Clip(
        "crossing", ".mkv", rate, paint, ("A cat comes in,", "meets a cup,", "and goes on.")
    )


def make_flight() -> Clip:
    """A flight into deep space that turns as it goes, and someone who floats by."""
    space = load(data.hubble_deep_field(), width=900)
    person = cut_out(load(data.astronaut(), width=200), (88, 64), (56, 62))

    def paint(t: float) -> Image:
        canvas = look(space, 450, 390, zoom=1.2 * math.exp(0.16 * t), angle=0.13 * t)
        x, y = 60 + 55 * t, 130 - 22 * t + 6 * math.sin(2.4 * t)
        put(canvas, person, x, y, angle=-0.22 * t, zoom=0.55 + 0.13 * t)
        return finish(canvas)

    return Clip(
        "flight", ".mov", Fraction(24), paint, ("Far out,", "someone floats", "among galaxies.")
    )


def load(picture: NDArray[Any], *, width: int) -> Picture:
    """A bundled picture as RGB, made smaller without aliasing."""
    if picture.ndim == 2:
        picture = np.stack([picture] * 3, axis=-1)
    height = round(picture.shape[0] * width / picture.shape[1])
    small = transform.resize(picture[..., :3], (height, width), order=1, anti_aliasing=True)
    return (255 * small).astype(np.float32)


def cut_out(picture: Picture, centre: tuple[float, float], radii: tuple[float, float]) -> Sprite:
    """Keep an ellipse (x and y, in pixels) with an edge of two pixels."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
    distance = np.hypot((x - centre[0]) / radii[0], (y - centre[1]) / radii[1])
    alpha = np.clip((1 - distance) * min(radii) / 2, 0, 1)[..., None]
    left, top = int(centre[0] - radii[0]) - 2, int(centre[1] - radii[1]) - 2
    right, bottom = int(centre[0] + radii[0]) + 3, int(centre[1] + radii[1]) + 3
    box = (slice(max(top, 0), bottom), slice(max(left, 0), right))
    return Sprite(picture[box], alpha[box])


def look(picture: Picture, x: float, y: float, *, zoom: float, angle: float = 0.0) -> Picture:
    """The frame that a camera over (x, y) sees; outside the picture, its mirror image."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    rows, columns = (rows - HEIGHT / 2) / zoom, (columns - WIDTH / 2) / zoom
    cos, sin = math.cos(angle), math.sin(angle)
    return sample(picture, y + sin * columns + cos * rows, x + cos * columns - sin * rows)


def put(
    canvas: Picture, sprite: Sprite, x: float, y: float, *, angle: float = 0.0, zoom: float = 1.0
) -> None:
    """Draw a sprite with its centre at (x, y)."""
    height, width = sprite.alpha.shape[:2]
    reach = zoom * math.hypot(height, width) / 2 + 2
    top, bottom = max(int(y - reach), 0), min(int(y + reach) + 1, HEIGHT)
    left, right = max(int(x - reach), 0), min(int(x + reach) + 1, WIDTH)
    if top >= bottom or left >= right:
        return
    rows, columns = np.mgrid[top:bottom, left:right].astype(np.float32)
    rows, columns = (rows - y) / zoom, (columns - x) / zoom
    cos, sin = math.cos(angle), math.sin(angle)
    v = height / 2 + sin * columns + cos * rows
    u = width / 2 + cos * columns - sin * rows
    inside = ((u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1))[..., None]
    alpha = sample(sprite.alpha, v, u) * inside
    part = canvas[top:bottom, left:right]
    part += alpha * (sample(sprite.picture, v, u) - part)


def sample(picture: Picture, rows: Picture, columns: Picture) -> Picture:
    """Bilinear interpolation at fractional places; outside the picture, its mirror image."""
    layers = [
        ndimage.map_coordinates(picture[..., i], (rows, columns), order=1, mode="mirror")
        for i in range(picture.shape[2])
    ]
    return np.stack(layers, axis=-1)


def ease(t: float) -> float:
    """0..1 with a soft start and end."""
    t = min(max(t, 0.0), 1.0)
    return t * t * (3 - 2 * t)


def finish(canvas: Picture) -> Image:
    return np.rint(canvas).clip(0, 255).astype(np.uint8)


# Versions


def make_versions(clip: Clip, folder: Path) -> list[dict[str, Any]]:
    """The whole clip and its five damaged versions; rows for the list."""
    times = [i / clip.rate for i in range(N_FRAMES)]
    images = [clip.paint(float(t)) for t in times]
    rows = []

    def write(
        kind: str,
        runs: Sequence[tuple[int, int]],
        shown: Sequence[Image],
        shown_times: Sequence[Fraction],
        *,
        intra: bool = False,
    ) -> Path:
        name = clip.name if kind == "whole" else f"{clip.name}-{kind}"
        path = folder / f"{name}{clip.suffix}"
        write_clip(path, clip, shown, shown_times, intra=intra)
        rows.append(
            {
                "file": path.name,
                "kind": kind,
                "reference": None if kind in ("whole", "vfr") else f"{clip.name}{clip.suffix}",
                "frames": len(shown),
                "runs": [list(run) for run in runs],
            }
        )
        return path

    write("whole", (), images, times)

    gone = spread(HOLES)
    kept = [i for i in range(N_FRAMES) if i not in gone]
    write("holes", HOLES, [images[i] for i in kept], [times[i] for i in kept])

    frozen = list(images)
    for start, stop in FROZEN:
        frozen[start:stop] = [images[start - 1]] * (stop - start)
    write("frozen", FROZEN, frozen, times)

    black = list(images)
    for start, stop in BLACK:
        black[start:stop] = [np.zeros_like(images[0])] * (stop - start)
    write("black", BLACK, black, times)

    # Every frame a key frame, so that damage stays where it is done.
    path = write("corrupt", CORRUPT, images, times, intra=True)
    damage(path, sorted(spread(CORRUPT)))

    uneven = [Fraction(sum(RHYTHM[k % len(RHYTHM)] for k in range(i)), 600) for i in range(72)]
    write("vfr", (), [clip.paint(float(t)) for t in uneven], uneven)
    return rows


def spread(runs: Sequence[tuple[int, int]]) -> set[int]:
    return {i for start, stop in runs for i in range(start, stop)}


def damage(path: Path, indices: Sequence[int]) -> None:
    """Overwrite packets in the file: by turns beyond decoding, and so that a picture remains."""
    with av.open(str(path)) as container:
        payloads = [bytes(p) for p in container.demux(container.streams.video[0]) if p.size]
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(7)
    for turn, index in enumerate(indices):
        payload = payloads[index]
        first, n = content.find(payload), len(payload)
        if turn % 2:
            content[first + n // 3 : first + n] = rng.bytes(n - n // 3)
        else:
            content[first : first + 8] = b"\xff" * 8
    path.write_bytes(content)


def write_clip(
    path: Path, clip: Clip, images: Sequence[Image], times: Sequence[Fraction], *, intra: bool
) -> None:
    """H.264, AAC and a subtitle track, at exact times, without anything that changes by the run."""
    base = Fraction(1, 1000) if path.suffix == ".mkv" else Fraction(1, 600 * clip.rate.numerator)
    last = 1 / clip.rate
    length = times[-1] + last
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        container.metadata["title"] = clip.name
        video = container.add_stream("libx264", rate=clip.rate)
        context = video.codec_context
        context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        context.time_base = base
        context.gop_size = 1 if intra else 48
        context.max_b_frames = 0 if intra else 2
        context.thread_count = 1
        context.flags |= Flags.frame_duration | Flags.bitexact
        # With macroblock trees x264's output differs by the run.
        context.options = {"crf": "14", "preset": "veryfast", "x264-params": "mbtree=0"}
        context.color_range, context.colorspace = 1, 6
        context.color_primaries, context.color_trc = 6, 6
        sound = container.add_stream("aac", rate=48_000, layout="mono")
        sound.codec_context.bit_rate = 64_000
        sound.codec_context.flags |= Flags.bitexact
        sound.metadata["language"] = "zxx"
        is_matroska = path.suffix == ".mkv"
        captions = container.add_mux_stream(
            "subrip" if is_matroska else "mov_text", time_base=Fraction(1, 1000)
        )
        captions.metadata["language"] = "eng"
        write_captions(container, captions, clip.captions, length, is_matroska=is_matroska)
        write_sound(container, sound, length)
        reformatter = av.video.reformatter.VideoReformatter()
        for index, image in enumerate(images):
            frame = reformatter.reformat(
                av.VideoFrame.from_ndarray(image, format="rgb24"),
                format="yuv420p",
                dst_colorspace=5,
                dst_color_range=1,
                interpolation="BICUBIC",
            )
            following = times[index + 1] if index + 1 < len(times) else times[index] + last
            frame.pts, frame.time_base = round(times[index] / base), base
            frame.duration = round(following / base) - frame.pts
            frame.pict_type = 0
            container.mux(video.encode(frame))
        container.mux(video.encode(None))


def write_captions(
    container: Any, stream: Any, captions: Sequence[str], length: Fraction, *, is_matroska: bool
) -> None:
    part = length / len(captions)
    for index, text in enumerate(captions):
        content = text.encode()
        if not is_matroska:
            content = len(content).to_bytes(2, "big") + content
        packet = av.Packet(content)
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = round(1000 * part * index) + 100
        packet.duration = round(1000 * part) - 200
        packet.is_keyframe = True
        container.mux(packet)


def write_sound(container: Any, stream: Any, length: Fraction) -> None:
    """A soft chord with a tick each half second, by which the eye can check the ear."""
    rate = 48_000
    n = int(length * rate)
    t = np.arange(n) / rate
    wave = sum(0.05 * np.sin(2 * np.pi * pitch * t) for pitch in (220.0, 277.2, 329.6))
    wave = wave + 0.3 * np.sin(2 * np.pi * 1500 * t) * np.exp(-80 * (t % 0.5))
    for first in range(0, n, 1024):
        part = wave[first : first + 1024].astype(np.float32)
        frame = av.AudioFrame.from_ndarray(part[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
