"""Damage real clips by recipe, and print what keeping the right parts of damaged frames is worth.

    python samples/measure_mending.py CLIPS... [--every 4] [--codecs libx264,mpeg2video]

The damage is that of ``measure_detection.py --only undecodable``, from the same seeds. Each file is
filled twice, with ``--mend`` and without, and the damaged frames that could be mended are compared
with those of the undamaged file: PSNR in dB, 60 at most, the mean over frames. "Decoded" is what a
player shows. "Worse" counts frames that are worse mended than made anew as a whole by more than
0.3 dB.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from measure_detection import Case, choose_suffix, read_clip, spoil, undecodable, write_case

from framepred.filling import fill_gaps
from framepred.metrics import psnr
from framepred.predictor import Predictor
from framepred.reports import MadeFrameReport
from framepred.video import VideoReader, to_rgb

CODECS = ("libx264", "mpeg4", "mpeg2video", "libx265", "libvpx", "libvpx-vp9")
HIGHEST = 60.0  # dB
WORSE = 0.3  # dB


@dataclass(frozen=True)
class Frame:
    """One damaged frame: PSNR as decoded, made anew as a whole and mended, and the share kept."""

    decoded: float
    whole: float
    mended: float
    kept: float


def read_frames(path: Path) -> dict[Fraction, np.ndarray]:
    """Return the RGB pictures by time, decoded in one thread as damaged files are."""
    with VideoReader(path, frame_threads=False) as reader:
        return {frame.time: to_rgb(frame) for frame in reader.read()}


def compare(damaged: Path, undamaged: Path, predictor: Predictor, folder: Path) -> list[Frame]:
    """Fill a file with and without mending; return the frames in which something was mended."""

    def fill(*, mend: bool) -> dict[Fraction, MadeFrameReport]:
        report = fill_gaps(
            damaged, folder / "made.mkv", codec="ffv1", reference=undamaged, overwrite=True,
            mend=mend, predictor=predictor,
        )  # fmt: skip
        return {frame.time: frame for gap in report.gaps for frame in gap.frames}

    mended = fill(mend=True)
    if all(frame.kept is None for frame in mended.values()):
        return []
    made = fill(mend=False)
    decoded, true = read_frames(damaged), read_frames(undamaged)
    found = []
    for time, frame in mended.items():
        whole = made.get(time)  # of damaged H.265 not each scan names the very same frames
        if whole is None or frame.kept is None or frame.psnr is None or whole.psnr is None:
            continue
        shown = psnr(true[time], decoded[time])
        scores = (min(score, HIGHEST) for score in (shown, whole.psnr, frame.psnr))
        found.append(Frame(*scores, kept=frame.kept))
    return found


def measure(paths: Sequence[Path], codecs: Sequence[str]) -> dict[str, list[Frame]]:
    """Damage and fill every clip; return the frames by row of the table."""
    rows: dict[str, list[Frame]] = defaultdict(list)
    predictor = Predictor.load("default")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in paths:
            clip = read_clip(path)
            with av.open(str(path)) as container:
                rate = Fraction(container.streams.video[0].average_rate)
            rng = np.random.default_rng(zlib.crc32(f"{path.stem} undecodable".encode()))
            for case in undecodable(clip, rng):
                if case.codec in codecs:
                    frames = compare(*damage(folder, case, rate), predictor, folder)
                    rows[f"{case.codec}, {case.how}"] += frames
                    print(path.name, case.codec, case.how, len(frames), file=sys.stderr, flush=True)
    return rows


def damage(folder: Path, case: Case, rate: Fraction) -> tuple[Path, Path]:
    """Write a clip as a file and spoil it; return both files, the damaged one first."""
    suffix = choose_suffix(case)
    undamaged, damaged = folder / f"whole{suffix}", folder / f"damaged{suffix}"
    write_case(undamaged, case, rate)
    spoil(undamaged, damaged, case)
    return damaged, undamaged


def print_table(rows: dict[str, list[Frame]]) -> None:
    """Print a row of Markdown for each codec and kind of damage."""
    print("| damage | frames | decoded | made anew as a whole | mended | area kept | worse |")
    print("|---|---|---|---|---|---|---|")
    for name, frames in sorted(rows.items()):
        if not frames:
            print(f"| {name} | 0 | | | | | |")
            continue
        columns = ("decoded", "whole", "mended", "kept")
        means = [float(np.mean([getattr(frame, name) for frame in frames])) for name in columns]
        n_worse = sum(frame.mended < frame.whole - WORSE for frame in frames)
        scores = " | ".join(f"{mean:.2f}" for mean in means[:3])
        print(f"| {name} | {len(frames)} | {scores} | {means[3]:.0%} | {n_worse} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take every n-th clip")
    parser.add_argument(
        "--codecs", default=",".join(CODECS), help="encoders to damage the files of"
    )
    arguments = parser.parse_args()
    codecs = arguments.codecs.split(",")
    unknown = sorted(set(codecs) - set(CODECS))
    if unknown:
        parser.error(f"no such encoder here: {unknown[0]!r}; choose of {', '.join(CODECS)}")
    paths = [
        file
        for clip in arguments.clips
        for file in (sorted(clip.glob("*.mp4")) if clip.is_dir() else [clip])
    ][:: arguments.every]
    print_table(measure(paths, codecs))


if __name__ == "__main__":
    main()
