"""Codec x container x pixel format x damage: what goes in comes out, or is refused with a reason.

Every clip is made by recipe with what this build of FFmpeg can encode. ffprobe, and plain PyAV in
one thread, say what must come out. The quick tests take a diagonal through the matrix, the slow
ones a part of it, the exhaustive ones the rest, and all print how many cases were tried, passed and
refused.
"""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise, product
from math import floor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from blending import BlendPredictor
from synthetic import digest_planes, make_frames, make_times, read_packets, write_clip

from framepred.errors import FramepredError
from framepred.filling import fill_gaps
from framepred.reports import FillReport
from framepred.scanning import scan
from framepred.video import VideoReader

Ffprobe = Callable[[Path], dict[str, Any]]
N, HOLES = 14, (5, 9, 10)
LIMIT = 30  # seconds for one case; they take less than one
# Raw streams have no times, MXF counts frames, and MPEG-PS times one in many: nothing can show
# that a frame is missing, so the gaps are named.
TIMELESS = (".h264", ".hevc", ".y4m", ".mxf", ".mpg")


@dataclass(frozen=True)
class Case:
    """One clip: how it is encoded, and in what it lies."""

    codec: str
    suffix: str
    pix_fmt: str = "yuv420p"
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        extras = ",".join(f"{k}={v}" for k, v in self.options.items())
        return f"{self.codec}{self.suffix} {self.pix_fmt} {extras}".strip()

    def make(self, folder: Path, *, holes: Sequence[int] = HOLES) -> Path:
        options = dict(self.options)
        width, height = options.pop("size", (64, 48))
        start, rate = options.pop("start", 0), options.pop("rate", 25)
        if self.codec == "dnxhd":
            width, height = 256, 128
            options["options"] = {"profile": "dnxhr_444" if "444" in self.pix_fmt else
                                  "dnxhr_hqx" if "10" in self.pix_fmt else "dnxhr_hq"}  # fmt: skip
        if self.codec == "libsvtav1":
            options["options"] = {"preset": "12"}
        if self.suffix in TIMELESS:
            holes = ()
        times = make_times(N, rate=rate, start=start, holes=holes)
        frames = make_frames(N, width=width, height=height)
        return write_clip(
            folder / f"in{self.suffix}",
            [frame for i, frame in enumerate(frames) if i not in set(holes)],
            times=times,
            rate=rate,
            time_base=1 / Fraction(rate) if self.suffix == ".y4m" else None,
            codec=self.codec,
            pix_fmt=self.pix_fmt,
            lossless=False,
            **{"gop": 6, **options},
        )


def cross(codec: str, suffixes: str, pix_fmts: str = "yuv420p", **options: Any) -> list[Case]:
    return [
        Case(codec, suffix, pix_fmt, options)
        for suffix in suffixes.split()
        for pix_fmt in pix_fmts.split()
    ]


FORMATS = [
    *cross("libx264", ".mp4 .mov .mkv .avi .ts .flv .h264"),
    *cross("libx264", ".mkv", "yuv422p yuv444p yuvj420p yuv420p10le yuv422p10le yuv444p10le gray"),
    *cross("libx264rgb", ".mkv .mp4", "rgb24"),
    *cross("libx265", ".mp4 .mov .mkv .ts .hevc"),
    *cross("libx265", ".mp4", "yuv422p yuv444p yuv420p10le yuv422p12le gbrp gbrp10le gray12le"),
    *cross("libvpx", ".webm .mkv"),
    *cross("libvpx-vp9", ".webm .mkv .mp4"),
    *cross("libvpx-vp9", ".webm", "yuv422p yuv444p yuv440p gbrp yuva420p"),
    *cross("libsvtav1", ".mp4 .mkv .webm", "yuv420p yuv420p10le"),
    *cross("mpeg2video", ".ts .mkv .mpg .mov .mxf", "yuv420p yuv422p"),
    *cross("mpeg1video", ".mpg"),
    *cross("mpeg4", ".avi .mp4 .mkv .mov .ts"),
    *cross("prores_ks", ".mov .mkv", "yuv422p10le yuv444p10le yuva444p10le"),
    *cross("dnxhd", ".mov .mxf", "yuv422p yuv422p10le yuv444p10le"),
    *cross("ffv1", ".mkv .avi", "yuv420p yuv422p10le yuv444p12le yuva444p yuva420p10le bgr0 bgra"),
    *cross("ffv1", ".mkv", "yuv420p16le gray gray16le rgb48le gbrp12le yuv411p yuv410p ya8"),
    *cross("mjpeg", ".avi .mov .mkv .mp4", "yuvj420p yuvj422p yuvj444p"),
    *cross("rawvideo", ".avi .mkv .mov", "yuv420p uyvy422 gray"),
    *cross("rawvideo", ".avi .mov", "bgr24"),
    *cross("rawvideo", ".nut", "rgb48le yuva444p16le nv12 p010le"),
    *cross("wrapped_avframe", ".y4m", "yuv420p yuv422p yuv444p gray"),
    *cross("png", ".mov .avi", "rgb24 rgba gray rgb48be gray16be ya8"),
    *cross("v210", ".mov", "yuv422p10le"),
    *cross("qtrle", ".mov", "rgb24 argb"),
    *cross("huffyuv", ".avi", "yuv422p rgb24"),
    *cross("utvideo", ".avi", "yuv420p gbrp"),
    *cross("jpeg2000", ".mov", "yuv444p rgb24 gray16le gbrp12le"),
    *cross("wmv2", ".wmv"),
    *cross("flv", ".flv"),
    *cross("apng", ".apng", "rgba rgb24"),
    *cross("gif", ".gif", "rgb8"),
]
FEATURES = [
    *cross("libx264", ".mp4 .mkv .mov .ts", b_frames=2),
    *cross("libx265", ".mp4 .mkv", b_frames=2),
    *cross("mpeg4", ".avi .mp4", b_frames=2),
    *cross("libx264", ".mp4 .mkv .ts", start=Fraction(7, 2)),
    *cross("libx264", ".mp4 .mkv .ts .avi", rate=Fraction(30000, 1001)),
    *cross("libx264", ".mp4 .mkv .ts", audio=True),
    *cross("libx264", ".mp4 .mkv", chapters=True, metadata={"title": "a title"}),
    *cross("libx264", ".mkv", attachment=b"a note"),
    *cross("libx264", ".mp4 .mkv .mov", rotation=90),
    *cross("libx264", ".mp4 .mov", rotation=180, mirror=True),
    *cross("libx264", ".mp4 .mkv .avi", sample_aspect_ratio=Fraction(4, 3)),
    *cross("libx264", ".mp4 .mkv", color_range=2, colorspace=1, color_primaries=1, color_trc=1),
    *cross("libx264", ".mp4", color_range=1, colorspace=6, color_primaries=6, color_trc=6),
    *cross("libx265", ".mp4", "yuv420p10le", color_range=1, colorspace=9, color_primaries=9,
           color_trc=16),
    *cross("libx265", ".mkv", "yuv420p10le", color_range=1, colorspace=9, color_primaries=9,
           color_trc=18),
    *cross("libvpx-vp9", ".webm", size=(65, 47)),
    *cross("ffv1", ".mkv", "yuv420p yuv422p10le", size=(63, 45)),
    *cross("libx264", ".mkv", "yuv444p", size=(61, 47)),
    *cross("png", ".mov", "rgb24", size=(7, 5)),
]  # fmt: skip

# What is refused, and with which words.
REFUSED = {
    "rawvideo.mov yuv420p": "none of its frames can be decoded",  # nor by FFmpeg itself
    "rawvideo.mov gray": "cannot be repacked as pal8",  # FFmpeg reads it as a palette
    "gif.gif rgb8": "gif cannot hold bgra pictures; name the output .mkv and use --codec ffv1",
}

# Formats that take every kind of damage; their pictures fit into FFV1, for an exact comparison.
DAMAGED = [
    *cross("libx264", ".mp4 .mov .mkv .avi .ts .flv .h264", b_frames=2),
    *cross("libx264", ".mkv", "yuv422p10le gray"),
    *cross("libx265", ".mp4 .mkv .ts .hevc", b_frames=2),
    *cross("libvpx", ".webm"),
    *cross("libvpx-vp9", ".webm .mp4"),
    *cross("libsvtav1", ".mp4 .mkv"),
    *cross("mpeg2video", ".ts .mkv .mpg", b_frames=2),
    *cross("mpeg4", ".avi .mp4", b_frames=2),
    *cross("prores_ks", ".mov", "yuv422p10le"),
    *cross("dnxhd", ".mov", "yuv422p"),
    *cross("ffv1", ".mkv .avi", gop=1),
    *cross("mjpeg", ".avi .mov", "yuvj422p"),
    *cross("png", ".mov", "gray"),
    *cross("huffyuv", ".avi", "yuv422p"),
    *cross("wrapped_avframe", ".y4m"),
]


@contextmanager
def limited() -> Iterator[None]:
    """Make a case that hangs fail."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {LIMIT} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def look(path: Path, *, hold: bool = False) -> list[tuple[Fraction | None, str, str]]:
    """(time, digest, pixel format) of what plain PyAV decodes in one thread, but for what fails.

    hold: let go of no picture before the end, so that the decoder has other memory to fill.
    """
    found, held = [], []
    with av.open(str(path), metadata_errors="replace") as container:
        video = next(s for s in container.streams.video if not s.disposition & 0x400)
        video.thread_type, video.thread_count = "NONE", 1
        if video.codec_context.name in ("mjpeg", "png"):
            video.codec_context.options = {"err_detect": "crccheck+explode"}
        packets = container.demux(video)
        flushed = False
        while not flushed:
            try:
                packet = next(packets)
                flushed = not packet.size
                frames = video.decode(packet)
            except StopIteration:
                break
            except av.error.FFmpegError:
                continue
            if hold:
                held += frames
            for frame in frames:
                time = None if frame.pts is None else frame.pts * Fraction(frame.time_base)
                digest = hashlib.sha256(digest_planes(frame)).hexdigest()
                found.append((time, digest, frame.format.name))
    return found


def check_whole(source: Path, output: Path, case: Case, ffprobe: Ffprobe) -> None:
    """The output has every slot, decodes without a word, and is described as the input is."""
    errors = subprocess.run(
        ["ffprobe", "-v", "error", "-count_frames", "-show_streams", str(output)],
        capture_output=True,
        check=True,
    ).stderr
    assert not errors, errors[:200]
    old, new = ffprobe(source), ffprobe(output)
    a, b = (next(s for s in x["streams"] if s["codec_type"] == "video") for x in (old, new))
    assert int(b["nb_read_frames"]) == N
    for key in (
        "codec_name", "width", "height", "pix_fmt", "color_range", "color_space",
        "color_primaries", "color_transfer",
    ):  # fmt: skip
        # VP8 knows but one range and one matrix, and its stream says nothing of them.
        if a["codec_name"] != "vp8" or key not in ("color_range", "color_space"):
            assert b.get(key) == a.get(key), key
    if "rotation" in case.options:
        assert b["side_data_list"][0]["displaymatrix"] == a["side_data_list"][0]["displaymatrix"]
    assert len(new["streams"]) == len(old["streams"])
    assert len(new.get("chapters", ())) == len(old.get("chapters", ()))


def run_case(source: Path, output: Path, **options: Any) -> tuple[FillReport | None, str]:
    """Fill with a predictor that anyone can foretell; a refusal is one line and leaves nothing."""
    before = source.read_bytes()
    names = {path.name for path in source.parent.iterdir()}
    report, reason = None, ""
    with limited():
        try:
            report = fill_gaps(
                source, output, predictor=BlendPredictor(), self_check=False, **options
            )
        except FramepredError as error:
            reason = str(error)
            assert reason
            assert "\n" not in reason
            assert not output.exists()
    assert source.read_bytes() == before
    assert {path.name for path in source.parent.iterdir()} - {output.name} == names
    return report, reason


def try_formats(cases: Sequence[Case], folder: Path, ffprobe: Ffprobe) -> Counter[str]:
    """Fill every clip into a file of its own kind."""
    counts: Counter[str] = Counter()
    wrong = []
    for number, case in enumerate(cases):
        room = folder / str(number)
        room.mkdir()
        counts["tried"] += 1
        source = case.make(room)
        named = ["5:6", "9:11"] if case.suffix in TIMELESS else None
        report, reason = run_case(source, room / f"out{case.suffix}", gaps=named)
        if report is None:
            counts["refused"] += 1
            expected = REFUSED.get(str(case))
            if expected is None or expected not in reason:
                wrong.append(f"{case}: {reason}")
            continue
        counts["passed"] += 1
        try:
            assert str(case) not in REFUSED
            assert report.frames_made == len(HOLES)
            check_whole(source, room / f"out{case.suffix}", case, ffprobe)
        except AssertionError as error:
            wrong.append(f"{case}: {str(error)[:300]}")
    assert not wrong, "\n".join(wrong)
    assert counts["tried"] == counts["passed"] + counts["refused"]
    return counts


# Damage.


def flip(data: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(len(data) // 8, len(data), 4):
        data[place] ^= 1 << int(rng.integers(8))


def blank(data: bytearray, rng: np.random.Generator) -> None:
    start = int(rng.integers(len(data) // 4, len(data)))
    n = min(len(data) - start, max(16, len(data) // 40))
    data[start : start + n] = bytes(n)


def scramble(data: bytearray, rng: np.random.Generator) -> None:
    start = int(rng.integers(len(data) // 4, len(data)))
    n = min(len(data) - start, max(16, len(data) // 20))
    data[start : start + n] = rng.bytes(n)


def drop(data: bytearray, rng: np.random.Generator) -> None:
    start = int(rng.integers(len(data) // 4, len(data)))
    del data[start : start + max(188, len(data) // 20)]


def cut(data: bytearray, rng: np.random.Generator) -> None:
    del data[int(rng.integers(1, len(data))) :]


DAMAGES = (flip, blank, scramble, drop, cut)


def check_kept(
    source: Path,
    output: Path,
    whole: Collection[str],
    true: Mapping[Fraction | None, str] | None = None,
) -> None:
    """Every picture that was not made anew is there, in its place, bit for bit.

    But for garbage that no decoder complains about, which may look otherwise at every reading:
    what is no picture of the whole file, neither here nor there, and what depends on the memory
    that earlier pictures left. (From that H.264 predicts where the picture that it needs is gone,
    and so may show an old one again.)
    """
    report = scan(source)
    plan = report.plan
    left = {
        slot
        for planned in plan.gaps
        if planned.action == "leave"
        for slot in range(planned.gap.start, planned.gap.stop)
    }
    made = {
        slot for planned in plan.gaps for slot in range(planned.gap.start, planned.gap.stop)
    } - left
    written = [
        (i, slot) for i, slot in enumerate(plan.slots) if i in made or slot.source is not None
    ]
    read, again, found = look(source), look(source, hold=True), look(output)
    has_times = source.suffix not in (*TIMELESS, ".avi") and all(
        time is not None for time, *_ in read
    )
    is_sorted = report.info.codec in ("h264", "hevc", "mpeg2video", "mpeg4")
    if has_times and not report.n_repaired_times:
        # A decoder that lost a key frame may mix the pictures of before and after.
        read.sort(key=lambda entry: entry[0])
        again.sort(key=lambda entry: entry[0])
    assert len(found) == len(written), "lost or added frames"
    times = [time for time, *_ in found if time is not None]
    assert all(a < b for a, b in pairwise(times)), "times go back"
    # The clock of a transport stream begins anew, and Matroska moves what begins before zero.
    origin = Fraction(0)
    if source.suffix in (".ts", ".mpg") and output.suffix != source.suffix:
        with av.open(str(source)) as container:
            starts = [(stream.start_time, stream.time_base) for stream in container.streams]
        begin = min(start * base for start, base in starts if start is not None and base)
        origin = Fraction(floor(begin * 100), 100)
    shift = origin + min(plan.slots[0].time - origin, Fraction(0))
    order = {slot.source: slot.source for _, slot in written}
    if has_times and report.n_repaired_times and report.is_damaged and is_sorted:
        # Pictures go by their times; those whose time was moved are what is left, in order.
        by_time = {time: k for k, (time, *_) in reversed([*enumerate(read)])}
        order = {slot.source: by_time[slot.time] for _, slot in written if slot.time in by_time}
        rest = [k for k in range(len(read)) if k not in set(order.values())]
        moved = [slot.source for _, slot in written if slot.source not in order]
        order |= dict(zip([k for k in moved if k is not None], rest, strict=False))
    if report.info.codec == "av1" and true is not None:
        # Pictures are refused that others show, and shown that others refuse.
        shown = {time: digest for time, digest, _ in read}
        for (i, slot), (_, digest, _) in zip(written, found, strict=True):
            known = {shown.get(slot.time), true.get(slot.time)}
            is_known = digest in known or digest not in whole
            assert i in made or is_known or report.n_repaired_times, f"slot {i}: another picture"
        return
    for (i, slot), (time, digest, pix_fmt) in zip(written, found, strict=True):
        assert time is not None
        assert abs(time - slot.time + shift) <= Fraction(1, 500), f"slot {i} at another time"
        if i not in made:
            assert slot.source is not None
            _, known, given = read[order[slot.source]]
            is_garbage = known != again[order[slot.source]][1] or not {digest, known} & set(whole)
            # Damage may even change the pixel format on the way.
            assert digest == known or is_garbage or pix_fmt != given, f"slot {i}: another picture"
    assert len(read) == sum(slot.source is not None for slot in plan.slots), "lost frames"


def try_damage(
    cases: Sequence[Case],
    folder: Path,
    *,
    kinds: Sequence[Any] = DAMAGES,
    seeds: Iterable[int] = (0,),
) -> Counter[str]:
    """Spoil every clip in every way, and fill what can still be read."""
    counts: Counter[str] = Counter()
    wrong = []
    for number, case in enumerate(cases):
        room = folder / str(number)
        room.mkdir()
        source = case.make(room, holes=())
        whole, pictures = source.read_bytes(), {time: digest for time, digest, _ in look(source)}
        for seed, spoil in product(seeds, kinds):
            data = bytearray(whole)
            spoil(data, np.random.default_rng((seed, number, DAMAGES.index(spoil))))
            source.write_bytes(data)
            output = room / "out.mkv"
            output.unlink(missing_ok=True)
            counts["tried"] += 1
            try:
                report, _ = run_case(source, output, codec="ffv1")
                if report is None:
                    counts["refused"] += 1
                    continue
                counts["passed"] += 1
                if output.exists():
                    check_kept(source, output, set(pictures.values()), pictures)
            except (AssertionError, TimeoutError) as error:
                wrong.append(
                    f"{case} {spoil.__name__} {seed}: {type(error).__name__} {str(error)[:300]}"
                )
    assert not wrong, "\n".join(wrong)
    return counts


def spoil_stamps(source: Path, target: Path, change: Callable[[list[int]], None]) -> None:
    """Copy a clip without B-frames, its presentation times changed and its decoding times not."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        video = reader.streams.video[0]
        copy = writer.add_stream_from_template(video)
        packets = [packet for packet in reader.demux(video) if packet.size]
        stamps = [packet.pts or 0 for packet in packets]
        early = 8 * (stamps[1] - stamps[0])  # or the muxer would refuse what goes back
        change(stamps)
        for packet, stamp in zip(packets, stamps, strict=True):
            packet.pts, packet.dts = stamp, (packet.dts or 0) - early
            packet.stream = copy
            writer.mux(packet)


def repeat(stamps: list[int]) -> None:
    stamps[6] = stamps[5]


def step_back(stamps: list[int]) -> None:
    stamps[6] = stamps[3]


def jump_ahead(stamps: list[int]) -> None:
    stamps[7:] = [stamp + 3 * stamps[-1] for stamp in stamps[7:]]


# Quick: a diagonal.


def test_formats(tmp_path: Path, ffprobe: Ffprobe) -> None:
    counts = try_formats([*FORMATS[::13], *FEATURES[::9]], tmp_path, ffprobe)
    assert counts["tried"] > 12


def test_refusals(tmp_path: Path, ffprobe: Ffprobe) -> None:
    cases = [case for case in FORMATS if str(case) in REFUSED]
    assert try_formats(cases, tmp_path, ffprobe) == {"tried": 3, "refused": 3}


def test_damage(tmp_path: Path) -> None:
    """Each format with one kind of damage: no crash, nothing lost, nothing in another place."""
    counts: Counter[str] = Counter()
    for k, kind in enumerate(DAMAGES):
        (tmp_path / kind.__name__).mkdir()
        counts += try_damage(DAMAGED[k::5], tmp_path / kind.__name__, kinds=[kind])
    assert counts["passed"] > 0.6 * counts["tried"] > 15


def spoil_one(
    folder: Path, suffix: str, spoil: Callable[[bytearray, np.random.Generator], None], seed: int
) -> tuple[Path, list[str]]:
    """A spoilt clip of H.264 with B-frames, and what the pictures of the whole one are."""
    source = Case("libx264", suffix, options={"b_frames": 2}).make(folder, holes=())
    whole = [digest for _, digest, _ in look(source)]
    data = bytearray(source.read_bytes())
    spoil(data, np.random.default_rng((seed, 0, DAMAGES.index(spoil))))
    source.write_bytes(data)
    return source, whole


@pytest.mark.parametrize(("suffix", "seed"), [(".mkv", 1002), (".mov", 1009), (".mp4", 1011)])
def test_a_lost_key_frame_moves_no_other(tmp_path: Path, suffix: str, seed: int) -> None:
    """The decoder mixes the pictures of before and behind; each goes to its own time."""
    source, whole = spoil_one(tmp_path, suffix, blank, seed)
    times = [time for time, *_ in look(source) if time is not None]
    assert times != sorted(times)
    report = scan(source)
    assert report.n_repaired_times == 0
    assert [(p.gap.start, p.gap.stop, p.action) for p in report.plan.gaps] == [(6, 12, "fill")]
    output = tmp_path / "out.mkv"
    assert run_case(source, output, codec="ffv1")[0] is not None
    found = look(output)
    assert [time for time, *_ in found] == make_times(N)
    same = [a == b for (_, a, _), b in zip(found, whole, strict=True)]
    assert same == [i not in range(6, 12) for i in range(N)]


def test_the_end_of_a_raw_stream_is_not_lost(tmp_path: Path) -> None:
    """Threads that are flushed lose frames behind an error, and a raw stream has no times."""
    source, whole = spoil_one(tmp_path, ".h264", cut, 1011)
    assert scan(source).n_frames == 6
    output = tmp_path / "out.mkv"
    assert run_case(source, output, codec="ffv1")[0] is not None
    assert [digest for _, digest, _ in look(output)] == whole[:6]


@pytest.mark.parametrize("seed", [13, 181, 504, 629])
def test_frames_out_of_their_order_are_not_lost_by_threads(tmp_path: Path, seed: int) -> None:
    """Nothing but their order shows the damage, and threads would lose the last frames."""
    source, _ = spoil_one(tmp_path, ".mp4", flip, seed)
    report = scan(source)
    assert report.n_frames == len(look(source))
    assert report.n_repaired_times == 0


@pytest.mark.parametrize("seed", [200128, 400246])
def test_threads_do_not_wait_for_one_another_for_ever(tmp_path: Path, seed: int) -> None:
    """Frame threads that decode such H.265 do, where a signal cannot reach them."""
    case = next(case for case in DAMAGED if str(case) == "libx265.mp4 yuv420p b_frames=2")
    source = case.make(tmp_path, holes=())
    data = bytearray(source.read_bytes())
    flip(data, np.random.default_rng((seed, 7, 0)))
    source.write_bytes(data)
    with VideoReader(source) as reader:
        assert reader.stream.thread_type.name == "SLICE"
    command = [sys.executable, "-m", "framepred", "scan", str(source)]
    subprocess.run(command, check=False, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("codec", "suffix", "spoil", "seed"),
    [("mpeg2video", ".mpg", blank, 4039), ("libx264", ".h264", flip, 4037)],
)
def test_times_that_are_made_up_order_nothing(
    tmp_path: Path, codec: str, suffix: str, spoil: Callable[..., None], seed: int
) -> None:
    source = Case(codec, suffix, options={"b_frames": 2}).make(tmp_path, holes=())
    whole = [digest for _, digest, _ in look(source)]
    data = bytearray(source.read_bytes())
    spoil(data, np.random.default_rng((seed, 0, DAMAGES.index(spoil))))
    source.write_bytes(data)
    output = tmp_path / "out.mkv"
    assert run_case(source, output, codec="ffv1")[0] is not None
    check_kept(source, output, whole)


def test_an_old_picture_out_of_the_decoders_memory(tmp_path: Path) -> None:
    """Predicted from what is lost, it differs from reading to reading: the others do not."""
    source, whole = spoil_one(tmp_path, ".h264", scramble, 1031)
    read, again = look(source), look(source, hold=True)
    assert [a == b for a, b in zip(read, again, strict=True)].count(False) == 3
    assert read[4][1] in whole
    output = tmp_path / "out.mkv"
    assert run_case(source, output, codec="ffv1")[0] is not None
    check_kept(source, output, whole)


@pytest.mark.parametrize("change", [repeat, step_back, jump_ahead])
@pytest.mark.parametrize("suffix", [".mkv", ".nut", ".ts"])
def test_times_that_go_wrong(
    tmp_path: Path, suffix: str, change: Callable[[list[int]], None]
) -> None:
    """Every picture stays, in the order in which it was stored, at a time after the one before."""
    codec = "mpeg2video" if suffix == ".ts" else "mjpeg"
    pix_fmt = "yuv420p" if suffix == ".ts" else "yuvj420p"
    whole = Case(codec, suffix, pix_fmt).make(tmp_path, holes=())
    source = tmp_path / f"spoilt{suffix}"
    spoil_stamps(whole, source, change)
    assert [digest for _, digest, _ in look(source)] == [digest for _, digest, _ in look(whole)]
    report = scan(source)
    assert report.n_frames == N
    assert report.n_repaired_times == (1 if change is not jump_ahead else 0)
    output = tmp_path / "out.mkv"
    assert run_case(source, output, codec="ffv1")[0] is not None
    if output.exists():
        check_kept(source, output, {digest for _, digest, _ in look(whole)})


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".ts"])
def test_a_rate_that_honestly_varies(tmp_path: Path, suffix: str) -> None:
    """No interval is like another: nothing is missing, and named frames are made at their times."""
    steps = np.random.default_rng(4).integers(20, 90, N - 1)
    times = [Fraction(0), *(Fraction(int(ms), 1000) for ms in np.cumsum(steps))]
    source = write_clip(tmp_path / f"in{suffix}", N, times=times, lossless=False, gop=6)
    assert scan(source).plan.gaps == ()
    output = tmp_path / "out.mkv"
    report, reason = run_case(source, output, codec="ffv1", gaps=["6:8"])
    assert report is not None, reason
    old, new = look(source), look(output)
    # Matroska counts milliseconds.
    assert [round(time * 1000) for time, *_ in new if time is not None] == [
        round(time * 1000) for time, *_ in old if time is not None
    ]
    same = [a == b for (_, a, _), (_, b, _) in zip(old, new, strict=True)]
    assert same == [i not in (6, 7) for i in range(N)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".ts"])
def test_many_sound_tracks(tmp_path: Path, suffix: str) -> None:
    """Each comes through packet by packet, in its place, with its language."""
    one = Case("libx264", suffix, options={"audio": True}).make(tmp_path)
    source = tmp_path / f"many{suffix}"
    languages = ("eng", "deu", "jpn", "und")
    with av.open(str(one)) as reader, av.open(str(source), "w") as writer:
        picture = writer.add_stream_from_template(reader.streams.video[0])
        tracks = [writer.add_stream_from_template(reader.streams.audio[0]) for _ in languages]
        for track, language in zip(tracks, languages, strict=True):
            track.metadata["language"] = language
        for packet in reader.demux():
            if packet.size and packet.stream is reader.streams.video[0]:
                packet.stream = picture
                writer.mux(packet)
            elif packet.size:
                for track in tracks:
                    copy = av.Packet(bytes(packet))
                    copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
                    copy.time_base, copy.stream = packet.time_base, track
                    writer.mux(copy)
    output = tmp_path / f"out{suffix}"
    report, reason = run_case(source, output)
    assert report is not None, reason
    assert report.frames_made == len(HOLES)
    before, after = read_packets(source), read_packets(output)
    assert len(after) == 1 + len(languages)
    with av.open(str(source)) as old, av.open(str(output)) as new:
        for a, b in zip(old.streams.audio, new.streams.audio, strict=True):
            assert before[a.index] == after[b.index] != []
            assert a.metadata.get("language") == b.metadata.get("language")


def test_a_clock_that_wraps(tmp_path: Path) -> None:
    """33 bits at 90 kHz are full after 26.5 hours."""
    end = Fraction(2**33, 90_000)
    case = Case("mpeg2video", ".ts", options={"start": round(end * 25 - 7) / Fraction(25)})
    source = case.make(tmp_path)
    report = scan(source)
    assert [(p.gap.start, p.gap.stop, p.gap.kind) for p in report.plan.gaps] == [
        (5, 6, "missing"),
        (9, 11, "missing"),
    ]
    assert report.n_repaired_times == 0
    assert run_case(source, tmp_path / "out.mkv", codec="ffv1")[0] is not None
    check_kept(source, tmp_path / "out.mkv", {digest for _, digest, _ in look(source)})


def test_recordings_behind_one_another(tmp_path: Path) -> None:
    """Times that jump are no missing frames; another size is refused."""
    for name in "abc":
        (tmp_path / name).mkdir()
    early = Case("mpeg2video", ".ts").make(tmp_path / "a", holes=())
    late = Case("mpeg2video", ".ts", options={"start": 500}).make(tmp_path / "b", holes=())
    both = tmp_path / "both.ts"
    for first, second in ((early, late), (late, early), (early, early)):
        both.write_bytes(first.read_bytes() + second.read_bytes())
        report = scan(both)
        assert report.n_frames == 2 * N
        assert report.plan.gaps == ()
    small = Case("libx264", ".ts").make(tmp_path / "a", holes=())
    large = Case("libx264", ".ts", options={"start": 500, "size": (80, 64)})
    both.write_bytes(small.read_bytes() + large.make(tmp_path / "c", holes=()).read_bytes())
    report = scan(both)
    assert report.n_frames == 2 * N
    assert report.plan.gaps == ()
    _, reason = run_case(both, tmp_path / "out.ts", gaps=["4:5"])
    assert "the picture changes from 64x48 to 80x64" in reason


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_without_an_index(tmp_path: Path, suffix: str) -> None:
    """MP4 cannot be read without its index, and that is said; the others can."""
    source = Case("mpeg4", suffix, options={"gop": 1}).make(tmp_path, holes=())
    data = source.read_bytes()
    index = {".mp4": b"moov", ".avi": b"idx1", ".mkv": bytes.fromhex("1c53bb6b")}[suffix]
    source.write_bytes(data[: data.rindex(index) - 4 * (suffix == ".mp4")])
    report, reason = run_case(source, tmp_path / "out.mkv", codec="ffv1", gaps=["4:5"])
    if suffix == ".mp4":
        assert "not a readable video" in reason
    else:
        assert report is not None
        assert report.frames_in == N
        check_whole_order(source, tmp_path / "out.mkv", made={4})


def check_whole_order(source: Path, output: Path, *, made: set[int]) -> None:
    old, new = look(source), look(output)
    assert len(old) == len(new) == N
    for i, (before, after) in enumerate(zip(old, new, strict=True)):
        assert (before[1] == after[1]) == (i not in made)


# All of it.


def share_out(*parts: Any) -> list[Any]:
    """Parts of a long test, so that processes share them; of these the first is in the suite."""
    return [pytest.param(part, marks=[pytest.mark.exhaustive] if i else []) for i, part in
            enumerate(parts)]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("first", share_out(*range(24)))
def test_all_formats(
    tmp_path: Path, ffprobe: Ffprobe, capsys: pytest.CaptureFixture[str], first: int
) -> None:
    cases = [*FORMATS, *FEATURES][first::24]
    counts = try_formats(cases, tmp_path, ffprobe)
    assert counts["refused"] == sum(str(case) in REFUSED for case in cases)
    with capsys.disabled():
        print(f"\nformats: {dict(counts)}")


@pytest.mark.slow
@pytest.mark.parametrize("seeds", share_out(range(1), range(1, 5), range(5, 9), range(9, 13)))
def test_all_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str], seeds: range) -> None:
    """All parts together are more than two thousand spoilt files."""
    counts = try_damage(DAMAGED, tmp_path, seeds=seeds)
    assert counts["tried"] > 140 * len(seeds)
    with capsys.disabled():
        print(f"\ndamage: {dict(counts)}")
