"""Damage real clips by recipe, scan the files, and print how much of it is found.

    python samples/measure_detection.py CLIPS... [--only closed,frozen] [--every 4] [--misses]
                                        [--cut CLIP:FRAME] [--codecs libx264,mpeg4]
                                        [--encode b=250k]

CLIPS are undamaged videos, single shots, or folders of them. ``--cut`` names a clip that has a
second shot all the same, and the frame that begins it, as seen by eye: black, frozen and closed-up
frames beside it are left out, since nobody can tell them from what an editor does between scenes.
Each clip is decoded, damaged (or changed in a way that is no damage), encoded and scanned as the
file that a user would have. Everything is drawn from a fixed seed by the clip's name, so that each
run makes the same files. Frozen and closed-up frames are made in clips of 25 frames and more.

Recall: of the damage made, the share that was found. Precision: of what was reported in these
files, the share that was damage. For runs of frames (frozen, black, missing) that is counted twice:
by run (found when it shares at least half of the union with what was reported) and by frame. A
closed-up drop is found when it is reported at its very frame; "exact" is then a count of lost
frames that is off by one at most. Of undecodable packets the frames count: all that are gone or
differ from the undamaged file's, by more than 6 levels in some 16 x 16 block. "Changed at all" is
the share of the frames reported that are gone or differ by anything.

Motion is measured on the undamaged clip, apart from all that is tested: the mean absolute change
from frame to frame of the most changed twentieth of the 16 x 16 blocks, in levels of 0..255, as the
median over twelve frames around the damage.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from framepred.scanning import ScanReport, scan
from framepred.timeline import Kind
from framepred.video import VideoReader

Planes = tuple[NDArray[np.uint8], ...]  # luma (H, W), two of chroma (H/2, W/2)
Clip = list[Planes]
Run = tuple[int, int]

DETECT: tuple[Kind, ...] = ("missing", "corrupt", "smeared", "frozen", "black", "closed")
CODECS = ("libx264", "mpeg4", "mpeg2video", "libx265", "libvpx", "libvpx-vp9", "libsvtav1")
VISIBLE = 6.0  # levels, the mean of some 16 x 16 block
EDGE = 12  # frames at either end of a clip that are left whole
BINS = ((0.0, "hardly any"), (5.0, "little"), (10.0, "some"), (20.0, "much"))  # levels


@dataclass
class Case:
    """A clip to be encoded, and what is wrong with it."""

    kind: str  # the table's row
    detail: str
    clip: Clip
    truth: list[Run] = field(default_factory=list)  # slots; for closed drops (frame, frames lost)
    motion: float = 0.0
    keep: Sequence[int] | None = None  # slots that have a frame; None: all
    times: Sequence[Fraction] | None = None  # instead of a constant rate
    crf: int = 20
    changed: list[Run] = field(default_factory=list)  # slots of undecodable, changed at all
    spoil: Sequence[int] = ()  # packets, as they are stored, that are spoiled or lost
    how: str = ""  # what becomes of them: see ``spoil``
    codec: str = "libx264"
    gop: int = 250


Recipe = Callable[[Clip, np.random.Generator], Iterator[Case]]


# Clips.


def read_clip(path: Path) -> Clip:
    """All frames as 4:2:0 planes of even size."""
    clip = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            width, height = frame.width // 2 * 2, frame.height // 2 * 2
            samples = frame.reformat(width, height, format="yuv420p").to_ndarray().ravel()
            luma, *chroma = np.split(samples, [height * width, height * width // 4 * 5])
            shape = (height // 2, width // 2)
            clip.append((luma.reshape(height, width), *(plane.reshape(shape) for plane in chroma)))
    return clip


def write_case(path: Path, case: Case, rate: Fraction, **options: str) -> None:
    """Encode as recorders do: H.264 with B-frames, at the quality asked for."""
    if case.codec in ("mpeg2video", "mpeg4"):
        rate = Fraction(25)  # they know a few rates only
    keep = range(len(case.clip)) if case.keep is None else case.keep
    times = case.times or [i / rate for i in range(len(case.clip))]
    base = Fraction(1, 90_000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(case.codec, rate=rate)
        context = stream.codec_context
        height, width = case.clip[0][0].shape
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base, context.thread_count, context.gop_size = base, 1, case.gop
        context.options = {"crf": str(case.crf), "preset": "veryfast"}
        if case.codec in ("mpeg2video", "mpeg4"):
            base = context.time_base = 1 / rate
            context.options = {}
            context.bit_rate, context.max_b_frames = 2_000_000, 2
        elif case.codec.startswith("libvpx"):
            context.options = {"deadline": "realtime", "cpu-used": "8"}
            context.bit_rate = 2_000_000
        elif case.codec == "libsvtav1":
            context.options = {"crf": "35", "preset": "10", "svtav1-params": f"keyint={case.gop}"}
        elif case.codec == "libx265":
            context.options = {"crf": "24", "preset": "superfast", "x265-params": "log-level=0"}
        context.options = {**context.options, **options}
        packets = []
        for i in keep:
            samples = np.concatenate([plane.ravel() for plane in case.clip[i]])
            frame = av.VideoFrame.from_ndarray(samples.reshape(-1, width), format="yuv420p")
            frame.pts, frame.time_base = round(times[i] / base), base
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for packet in packets:
            container.mux(packet)


def choose_suffix(case: Case) -> str:
    """A container that holds the codec; MP4 does not hold VP8."""
    return ".mkv" if case.codec == "libvpx" else ".mp4"


def spoil(path: Path, target: Path, case: Case) -> None:
    """Damage stored packets where they lie in a file, as a bad disk or a bad line does."""
    with av.open(str(path)) as container:
        stored = [packet for packet in container.demux(video=0) if packet.size]
        if case.how == "lost":
            with av.open(str(target), "w") as output:
                stream = output.add_stream_from_template(container.streams.video[0], opaque=True)
                for number, packet in enumerate(stored):
                    if number not in case.spoil:
                        packet.stream = stream
                        output.mux(packet)
            return
        places = [(packet.pos, bytes(packet)) for packet in stored]
    whole = path.read_bytes()
    data = np.frombuffer(whole, np.uint8).copy()
    for number in case.spoil:
        place, content = places[number]  # in Matroska that of the block around it
        start, size = whole.index(content, place), len(content)
        packet = data[start : start + size]
        if case.how == "overwritten":
            packet[:] = 255
        elif case.how == "zeroed":
            packet[size // 2 :] = 0
        else:  # bits flipped, behind the lengths and headers, without which all is lost anyway
            rng = np.random.default_rng(number)
            hit = rng.integers(min(size - 1, 16), size, max(1, size // 1000))
            packet[hit] ^= (1 << rng.integers(0, 8, len(hit))).astype(np.uint8)
    target.write_bytes(data.tobytes())


def measure_motion(clip: Clip, at: int) -> float:
    """Usual change from frame to frame around a frame, where the picture changes most."""
    first, last = max(1, at - 6), min(len(clip), at + 7)
    return float(np.median([change(clip[i - 1], clip[i]) for i in range(first, last)]))


def change(before: Planes, after: Planes) -> float:
    """Mean absolute change of the most changed twentieth of the blocks."""
    difference = np.abs(after[0].astype(np.int16) - before[0])
    rows, columns = (n // 16 for n in difference.shape)
    blocks = difference[: rows * 16, : columns * 16].reshape(rows, 16, columns, 16).mean((1, 3))
    return float(np.sort(blocks.ravel())[-max(1, blocks.size // 20) :].mean())


# Damage.


def closed(clip: Clip, rng: np.random.Generator) -> Iterator[Case]:
    """Frames are gone, and the times closed up."""
    for n in (1, 2, 3, 4, 8):
        if len(clip) >= n + 2 * EDGE:
            at = int(rng.integers(EDGE, len(clip) - EDGE - n + 1))
            rest = clip[:at] + clip[at + n :]
            yield Case("closed", f"n={n}", rest, [(at, n)], measure_motion(clip, at + n // 2))


def frozen(clip: Clip, rng: np.random.Generator) -> Iterator[Case]:
    """Frames repeat the one before them; noise is added to all, and the encoder does its part."""
    lengths = [n for n in (1, 2, 3, 5, 8, 12) if len(clip) >= n + 2 * EDGE]
    for crf in (18, 23, 28, 33) if lengths else ():
        for noise in (0.0, 2.0):
            n = lengths[int(rng.integers(len(lengths)))]
            at = int(rng.integers(EDGE, len(clip) - EDGE - n + 1))
            shown = [at - 1 if at <= i < at + n else i for i in range(len(clip))]
            frozen = add_noise([clip[i] for i in shown], noise, rng)
            motion = measure_motion(clip, at + n // 2)
            yield Case(f"frozen, crf {crf}", f"n={n} noise={noise:g}", frozen, [(at, at + n)],
                       motion, crf=crf)  # fmt: skip


def black(clip: Clip, rng: np.random.Generator) -> Iterator[Case]:
    """Frames are black, as video defines it or as a computer does, with noise."""
    lengths = [n for n in (1, 2, 3, 6, 12) if len(clip) >= n + EDGE]
    for n, level in zip(lengths, (16, 0, 16, 0, 16), strict=False):
        edge = min(EDGE, (len(clip) - n) // 2)
        at = int(rng.integers(edge, len(clip) - edge - n + 1))
        dark = [blank(clip[0], level) if at <= i < at + n else clip[i] for i in range(len(clip))]
        for noise, crf in ((1.0, 20), (3.0, 30)):
            dirty = add_noise(dark, noise, rng)
            yield Case(f"black, crf {crf}", f"n={n}", dirty, [(at, at + n)], crf=crf)


def missing(clip: Clip, rng: np.random.Generator) -> Iterator[Case]:
    """Frames are gone, and their times with them."""
    for n in (1, 3, 8):
        at = int(rng.integers(4, len(clip) - 4 - n))
        keep = [i for i in range(len(clip)) if not at <= i < at + n]
        yield Case("missing", f"n={n}", clip, [(at, at + n)], keep=keep)


def undecodable(clip: Clip, rng: np.random.Generator) -> Iterator[Case]:
    """Packets are overwritten, zeroed from the middle on, lost, or have flipped bits."""
    hows = ("overwritten", "zeroed", "bits flipped", "lost")
    for codec in CODECS:
        for how in hows if codec == "libx264" else hows[2:]:
            n = int(rng.integers(1, 4))
            at = int(rng.integers(4, len(clip) - 4 - n))
            yield Case(f"undecodable, {how}", f"n={n} {codec}", clip, spoil=range(at, at + n),
                       how=how, codec=codec, gop=24)  # fmt: skip


# No damage.


def whole(clip: Clip, rng: np.random.Generator) -> Iterator[Case]:
    yield Case("whole", "", clip, crf=18)
    yield Case("whole, noise, crf 28", "", add_noise(clip, 3.0, rng), crf=28)


def repeated(clip: Clip, rng: np.random.Generator) -> Iterator[Case]:
    """Animation on twos and threes; 24 frames a second shown at 30."""
    for n, name in ((2, "twos"), (3, "threes")):
        for crf in (20, 30):
            held = [clip[i - i % n] for i in range(len(clip))]
            yield Case(f"on {name}", f"crf {crf}", add_noise(held, 1.0, rng), crf=crf)
    pulled = [frame for i, frame in enumerate(clip) for frame in [frame] * (2 if i % 4 == 3 else 1)]
    yield Case("24 shown at 30", "", pulled)


def still(clip: Clip, rng: np.random.Generator) -> Iterator[Case]:
    """A picture that stands; motion that begins, pauses and ends; slides."""
    n = len(clip)
    yield Case("static shot", "", add_noise([clip[n // 2]] * 60, 2.0, rng))
    third = n // 3
    paused = [*clip[:third], *[clip[third]] * 20, *clip[third : 2 * third], *[clip[2 * third]] * 20]
    yield Case("starts and stops", "", add_noise([*[clip[0]] * 20, *paused], 1.0, rng))
    slides = [clip[i] for i in (0, n // 3, 2 * n // 3, n - 1) for _ in range(15)]
    mirrored = [tuple(plane[:, ::-1] for plane in frame) for frame in slides]
    yield Case("slides", "", add_noise([*slides, *mirrored], 1.0, rng))


def lit(clip: Clip, rng: np.random.Generator) -> Iterator[Case]:
    """Fades to and from black, a dissolve, flashes."""
    n = len(clip)
    light = np.interp(np.arange(n), [n * 0.3, n * 0.45, n * 0.55, n * 0.7], [1, 0, 0, 1])
    dark = blank(clip[0], 16)
    yield Case("fades", "", [mix(dark, frame, s) for frame, s in zip(clip, light, strict=True)])
    other = [tuple(plane[::-1, ::-1] for plane in frame) for frame in clip[::-1]]
    share = np.interp(np.arange(n), [n * 0.4, n * 0.6], [0, 1])
    dissolved = [mix(a, b, s) for a, b, s in zip(clip, other, share, strict=True)]
    yield Case("dissolve", "", dissolved)
    white = blank(clip[0], 235)
    flashed = list(clip)
    for at, strength in zip(rng.choice(np.arange(6, n - 6), 3, replace=False), (0.3, 0.6, 0.9),
                            strict=True):  # fmt: skip
        flashed[at] = mix(clip[at], white, strength)
        flashed[at + 1] = mix(clip[at + 1], white, strength / 3)
    yield Case("flashes", "", flashed)


def cut(clip: Clip, rng: np.random.Generator) -> Iterator[Case]:
    """Cuts to the mirrored picture and back, and to a later part upside down."""
    n = len(clip)
    mirrored = [tuple(plane[:, ::-1] for plane in frame) for frame in clip]
    turned = [tuple(plane[::-1] for plane in frame) for frame in clip]
    yield Case("cuts", "", [*clip[: n // 3], *mirrored[n // 3 : 2 * n // 3], *turned[2 * n // 3 :]])


def shaken(clip: Clip, rng: np.random.Generator) -> Iterator[Case]:
    """A hand that trembles, and a hand that is pushed."""
    margin = 16
    tremor = rng.normal(0, 2.0, (len(clip), 2))
    wander = np.cumsum(rng.normal(0, 0.6, (len(clip), 2)), axis=0)
    yield Case("camera shake", "", shift(clip, tremor + wander, margin))
    pushes = np.zeros((len(clip), 2))
    for at in rng.choice(np.arange(6, len(clip) - 10), 3, replace=False):
        pushes[at:] += rng.normal(0, 4.0, 2)[None] * np.exp(-np.arange(len(clip) - at) / 2)[:, None]
    yield Case("camera pushed", "", shift(clip, pushes, margin))


def variable(clip: Clip, rng: np.random.Generator) -> Iterator[Case]:
    """Honest variable rate: moments are left out and their times with them, without a rhythm."""
    steps = rng.integers(1, 4, len(clip))
    keep = [int(i) for i in np.cumsum(steps) - steps[0] if i < len(clip)]
    jitter = rng.integers(-90, 90, len(clip))
    times = [Fraction(1, 25) * i + Fraction(int(j), 10_000) for i, j in enumerate(jitter, start=1)]
    yield Case("variable rate", "", clip, keep=keep, times=times)


RECIPES: dict[str, Recipe] = {
    recipe.__name__: recipe
    for recipe in (
        *(closed, frozen, black, missing, undecodable),
        *(whole, repeated, still, lit, cut, shaken, variable),
    )
}


def add_noise(clip: Clip, sigma: float, rng: np.random.Generator) -> Clip:
    """Noise of its own for each frame, on the luma and half as much on the chroma."""
    if not sigma:
        return clip
    # Noise is drawn once, larger than a frame, and looked at in another place for each.
    height, width = clip[0][0].shape
    field = rng.normal(0, sigma, (height + 64, width + 64)).astype(np.float32)
    noisy = []
    for frame in clip:
        y, x = rng.integers(0, 64, 2)
        planes = []
        for plane, weight in zip(frame, (1, 0.5, 0.5), strict=True):
            piece = field[y : y + plane.shape[0], x : x + plane.shape[1]]
            planes.append(np.rint(plane + weight * piece).clip(0, 255).astype(np.uint8))
        noisy.append(tuple(planes))
    return noisy


def blank(like: Planes, level: int) -> Planes:
    return (np.full_like(like[0], level), *(np.full_like(plane, 128) for plane in like[1:]))


def mix(first: Planes, second: Planes, share: float) -> Planes:
    pairs = zip(first, second, strict=True)
    return tuple(np.rint(a * (1 - share) + b * share).astype(np.uint8) for a, b in pairs)


def shift(clip: Clip, by: NDArray[np.float64], margin: int) -> Clip:
    """Look at each frame through a window that moves by half pixels, as chroma does by quarters."""
    moved = []
    for frame, offset in zip(clip, by, strict=True):
        planes = []
        for plane, size in zip(frame, (1, 2, 2), strict=True):
            y, x = (offset.clip(-margin + 2, margin - 2) + margin) / size
            top, left = int(y), int(x)
            height, width = plane.shape[0] - 2 * margin // size, plane.shape[1] - 2 * margin // size
            part = plane[top : top + height + 1, left : left + width + 1].astype(np.float32)
            part = part[:-1] * (1 - y + top) + part[1:] * (y - top)
            part = part[:, :-1] * (1 - x + left) + part[:, 1:] * (x - left)
            planes.append(np.rint(part).astype(np.uint8))
        moved.append(tuple(planes))
    return moved


# Counting.


@dataclass
class Tally:
    """What was found of one kind of damage, and what was reported besides."""

    files: int = 0
    made: int = 0  # runs, or closed-up drops
    found: int = 0
    exact: int = 0
    reported: int = 0
    frames_made: int = 0
    frames_found: int = 0
    frames_reported: int = 0
    frames_changed: int = 0  # of those reported
    false: dict[str, int] = field(default_factory=dict)  # reports of other kinds, or of no damage


def count(case: Case, report: ScanReport, tally: Tally) -> bool:
    """Add a scan to the tally; tell whether all was found and nothing else reported."""
    tally.files += 1
    kind = case.kind.split(",")[0]
    wrong: list[str] = [gap.gap.kind for gap in report.plan.gaps if gap.gap.kind != kind]
    runs = [(gap.gap.start, gap.gap.stop) for gap in report.plan.gaps if gap.gap.kind == kind]
    hits = 0
    if kind == "closed":
        (at, n_lost), starts = case.truth[0], [drop.start for drop in report.drops]
        hits = starts.count(at)
        tally.made, tally.found = tally.made + 1, tally.found + hits
        tally.exact += any(d.start == at and abs(d.frames - n_lost) <= 1 for d in report.drops)
        tally.reported += len(starts)
        wrong += ["closed"] * (len(starts) - hits)
    else:
        wrong += ["closed"] * len(report.drops)
        if kind == "undecodable":  # whatever its cause, a frame is spoiled or it is not
            spoiled = ("corrupt", "smeared", "missing")
            bad = [gap.gap for gap in report.plan.gaps if gap.gap.kind in spoiled]
            runs = join(flatten([(gap.start, gap.stop) for gap in bad]))
            wrong = [name for name in wrong if name not in spoiled]
        pairs = [max((overlap(true, run) for run in runs), default=0.0) for true in case.truth]
        hits = sum(share >= 0.5 for share in pairs)
        if kind != "undecodable":
            tally.made, tally.found = tally.made + len(case.truth), tally.found + hits
            tally.exact += sum(run in runs for run in case.truth)
            tally.reported += len(runs)
        made, reported = flatten(case.truth), flatten(runs)
        tally.frames_made += len(made)
        tally.frames_found += len(made & reported)
        tally.frames_reported += len(reported)
        tally.frames_changed += len(flatten(case.changed) & reported)
    for name in wrong:
        tally.false[name] = tally.false.get(name, 0) + 1
    return hits == len(case.truth) and not wrong and tally.reported >= tally.found


def overlap(first: Run, second: Run) -> float:
    """Common slots over all slots of two runs."""
    common = min(first[1], second[1]) - max(first[0], second[0])
    return max(0, common) / (first[1] - first[0] + second[1] - second[0] - max(0, common))


def flatten(runs: Sequence[Run]) -> set[int]:
    return {i for start, stop in runs for i in range(start, stop)}


def is_beside(case: Case, cuts: Sequence[int]) -> bool:
    """Tell whether what was done lies at a cut that the undamaged clip has."""
    name = case.kind.split(",")[0]
    lost = [(at, at + n) for at, n in case.truth] if name == "closed" else case.truth
    return name in ("black", "frozen", "closed") and any(
        start <= cut <= stop for cut in cuts for start, stop in lost
    )


def join(slots: set[int]) -> list[Run]:
    """The runs that a set of slots makes."""
    starts = sorted(i for i in slots if i - 1 not in slots)
    return [
        (i, next(stop for stop in range(i, i + len(slots) + 1) if stop not in slots))
        for i in starts
    ]


def read_luma(path: Path) -> dict[Fraction, NDArray[np.uint8]]:
    """The pictures by their times, as they are decoded when damaged frames are made anew."""
    with VideoReader(path, frame_threads=False) as reader:
        return {frame.time: frame.native.to_ndarray(format="gray") for frame in reader.read()}


def compare_pictures(damaged: Path, undamaged: Path, *, least: float = VISIBLE) -> list[Run]:
    """The runs of slots whose picture is gone or another one than in the undamaged file.

    least: levels; some block must differ by more.
    """
    seen = read_luma(damaged)
    slots = set()
    for i, (time, true) in enumerate(sorted(read_luma(undamaged).items())):
        other = seen.get(time)
        if other is None or other.shape != true.shape or find_worst_block(true, other) > least:
            slots.add(i)
    return join(slots)


def find_worst_block(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """The largest mean absolute difference of a 16 x 16 block."""
    rows, columns = (n // 16 for n in first.shape)
    difference = np.abs(first.astype(np.int16) - second)[: rows * 16, : columns * 16]
    return float(difference.reshape(rows, 16, columns, 16).mean((1, 3)).max())


def measure(
    paths: Sequence[Path],
    recipes: Sequence[str],
    *,
    cuts: Sequence[tuple[str, int]] = (),
    codecs: Sequence[str] = CODECS,
    encode: Sequence[tuple[str, str]] = (),
    say: Callable[[str], None] | None = None,
) -> dict[str, Tally]:
    """Damage, encode and scan every clip; return the tallies by row of the table."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            clip = read_clip(path)
            with av.open(str(path)) as container:
                rate = Fraction(container.streams.video[0].average_rate)
            for name in recipes:
                rng = np.random.default_rng(zlib.crc32(f"{path.stem} {name}".encode()))
                for number, case in enumerate(RECIPES[name](clip, rng)):
                    if is_beside(case, [cut for stem, cut in cuts if stem == path.stem]):
                        continue
                    if case.spoil and case.codec not in codecs:
                        continue
                    suffix = choose_suffix(case)
                    file = Path(folder) / f"{path.stem}-{number}{suffix}"
                    write_case(file, case, rate, **dict(encode))
                    if case.spoil:
                        undamaged = file.rename(file.with_suffix(f".whole{suffix}"))
                        spoil(undamaged, file, case)
                        case.truth = compare_pictures(file, undamaged)
                        case.changed = compare_pictures(file, undamaged, least=0.0)
                    report = scan(file, detect=DETECT)
                    file.unlink()
                    rows = [case.kind]
                    if case.truth and name in ("closed", "frozen"):
                        rows += [f"{name}, {case.detail.split()[0]}", f"{name}, {grade(case)}"]
                    if name == "undecodable":
                        rows += [f"{name}, {case.codec}", f"{case.kind}, {case.codec}"]
                    for row in rows:
                        is_right = count(case, report, tallies[row])
                    if not is_right and say is not None:
                        gaps = [(g.gap.start, g.gap.stop, g.gap.kind) for g in report.plan.gaps]
                        drops = [(drop.start, drop.frames) for drop in report.drops]
                        say(f"{path.name} {case.kind} {case.detail} {case.truth}: {gaps} {drops}")
    return tallies


def grade(case: Case) -> str:
    """The motion around the damage in words."""
    return [f"{word} motion" for least, word in BINS if case.motion >= least][-1]


def print_table(tallies: dict[str, Tally]) -> None:
    print(
        "| files | n | recall | precision | exact "
        "| frames: recall | precision | changed at all | other reports |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for row, tally in tallies.items():
        false = ", ".join(f"{n} {kind}" for kind, n in sorted(tally.false.items())) or "none"
        cells = [
            share(tally.found, tally.made),
            share(tally.found, tally.reported) if tally.made else "",
            share(tally.exact, tally.made),
            share(tally.frames_found, tally.frames_made),
            share(tally.frames_found, tally.frames_reported) if tally.frames_made else "",
            share(tally.frames_changed, tally.frames_reported) if tally.frames_changed else "",
        ]
        print(f"| {row} | {tally.files} | {' | '.join(cells)} | {false} |", flush=True)


def share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else ""


def parse_cut(text: str) -> tuple[str, int]:
    stem, _, frame = text.rpartition(":")
    return stem, int(frame)


def parse_option(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clips", nargs="+", type=Path, help="undamaged videos, or folders of them")
    parser.add_argument("--only", default=",".join(RECIPES), help="recipes: %(default)s")
    parser.add_argument("--every", type=int, default=1, help="take only every so manieth clip")
    parser.add_argument("--cut", action="append", type=parse_cut, default=[], metavar="CLIP:FRAME")
    parser.add_argument("--codecs", default=",".join(CODECS), help="of what is undecodable")
    parser.add_argument("--encode", action="append", type=parse_option, default=[],
                        metavar="NAME=VALUE", help="an option of the encoders")  # fmt: skip
    parser.add_argument("--misses", action="store_true", help="list on stderr what went wrong")
    options = parser.parse_args()
    paths = [
        file
        for clip in options.clips
        for file in (sorted(clip.glob("*.mp4")) if clip.is_dir() else [clip])
    ][:: options.every]
    unknown = sorted(set(options.only.split(",")) - set(RECIPES))
    if unknown or not paths:
        parser.error(f"no recipe {unknown[0]!r}" if unknown else "no clips there")

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    say_misses = say if options.misses else None
    only, codecs = options.only.split(","), options.codecs.split(",")
    print_table(
        measure(paths, only, cuts=options.cut, codecs=codecs, encode=options.encode, say=say_misses)
    )


if __name__ == "__main__":
    main()
