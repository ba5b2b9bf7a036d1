"""Scans of whole files: what is found, what is planned, and what is no damage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from synthetic import damage_packets, make_texture, make_times, write_clip, write_gappy_clip

from framepred import scanning
from framepred.errors import GapError, MediaError
from framepred.ranges import SlotRange, TimeRange
from framepred.reports import Progress
from framepred.scanning import ScanReport, scan
from framepred.timeline import Kind
from framepred.video import VideoReader

ALL: tuple[Kind, ...] = ("missing", "corrupt", "frozen", "black")
SHARED = Path(__file__).parents[2] / "shared" / "data"

Image = np.ndarray


def gaps(report: ScanReport) -> list[tuple[int, int, str, str]]:
    return [(p.gap.start, p.gap.stop, p.gap.kind, p.action) for p in report.plan.gaps]


def pan(
    n: int, *, seed: int = 1, speed: float = 2.0, width: int = 160, height: int = 96
) -> list[Image]:
    """A window that moves over a detailed picture, (height, width, 3) uint8."""
    wide = int(width + speed * n + 1)
    rng = np.random.default_rng(seed)
    picture = make_texture(wide, height, seed=seed).astype(np.float64)
    for size in (4, 8, 16):
        detail = rng.normal(0, 2.5 * size**0.5, (height // size + 1, wide // size + 1))
        picture += np.kron(detail, np.ones((size, size)))[:height, :wide, None]
    picture = picture.clip(0, 255).astype(np.uint8)
    return [picture[:, int(speed * i) : int(speed * i) + width] for i in range(n)]


def freeze(frames: Sequence[Image], start: int, n: int) -> list[Image]:
    return [frames[start - 1 if start <= i < start + n else i] for i in range(len(frames))]


def spoil(source: Path, target: Path, packets: Sequence[int]) -> Path:
    """Copy a clip with some video packets overwritten."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        video = reader.streams.video[0]
        copy = writer.add_stream_from_template(video)
        for i, packet in enumerate(p for p in reader.demux(video) if p.size):
            if i in packets:
                broken = av.Packet(b"\xff" * packet.size)
                broken.pts, broken.dts = packet.pts, packet.dts
                broken.time_base, broken.duration = packet.time_base, packet.duration
                packet = broken
            packet.stream = copy
            writer.mux(packet)
    return target


# Timestamps.


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.mov", "clip.ts", "clip.avi"])
@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
def test_holes_in_every_container(tmp_path: Path, name: str, rate: Fraction) -> None:
    path, _ = write_gappy_clip(tmp_path / name, 40, [8, 20, 21, 30, 31, 32], rate=rate)
    report = scan(path, detect=ALL)
    assert gaps(report) == [
        (8, 9, "missing", "fill"),
        (20, 22, "missing", "fill"),
        (30, 33, "missing", "fill"),
    ]
    assert report.plan.step == 1 / rate
    assert report.n_frames == 34
    first = report.plan.slots[0].time
    tick = report.info.time_base
    for k, slot in enumerate(report.plan.slots):
        assert abs(slot.time - first - k / rate) <= tick


def test_b_frames_and_late_start(tmp_path: Path) -> None:
    holes = [9, 10, 23]
    times = make_times(36, rate=24, start=Fraction(41, 4), holes=holes)
    path = write_clip(
        tmp_path / "clip.mkv", pan(33), times=times, rate=24, b_frames=2, lossless=False
    )
    report = scan(path)
    assert gaps(report) == [(9, 11, "missing", "fill"), (23, 24, "missing", "fill")]
    assert report.plan.slots[0].time == Fraction(41, 4)


def test_variable_rate_has_no_missing_frames(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    ticks = np.cumsum(rng.integers(20, 200, 40))
    path = write_clip(
        tmp_path / "vfr.mkv",
        pan(40),
        times=[Fraction(int(t), 1000) for t in ticks],
        time_base=Fraction(1, 1000),
    )
    report = scan(path, detect=ALL)
    assert (report.plan.step, report.plan.gaps) == (None, ())
    assert report.as_dict()["frame_rate"] is None


def test_cadence_is_told_from_regular_losses(tmp_path: Path) -> None:
    """A hole at every sixth place: 25 frames a second on a grid of 30, or one in six lost."""
    times = make_times(60, rate=30, holes=range(5, 60, 6))
    cadence = write_clip(tmp_path / "cadence.mkv", pan(50), times=times, rate=30)
    report = scan(cadence, detect=ALL)
    assert (report.plan.step, report.plan.gaps) == (None, ())
    kept = [frame for i, frame in enumerate(pan(60)) if i % 6 != 5]
    lossy = write_clip(tmp_path / "lossy.mkv", kept, times=times, rate=30)
    assert [start for start, *_ in gaps(scan(lossy, detect=ALL))] == list(range(5, 59, 6))


def test_holes_that_were_not_asked_for_stay_holes(tmp_path: Path) -> None:
    path, _ = write_gappy_clip(tmp_path / "clip.mkv", 30, [10])
    assert gaps(scan(path, detect=("frozen",))) == [(10, 11, "missing", "leave")]
    assert gaps(scan(path, detect=())) == [(10, 11, "missing", "leave")]


# Corruption.


@pytest.mark.parametrize("lost", [[7], [0], [19], [4, 5, 12]])
def test_packets_that_do_not_decode(tmp_path: Path, lost: list[int]) -> None:
    whole = write_clip(tmp_path / "whole.mkv", pan(20), gop=1)
    report = scan(spoil(whole, tmp_path / "spoilt.mkv", lost))
    assert [i for start, stop, *_ in gaps(report) for i in range(start, stop)] == lost
    assert {kind for _, _, kind, _ in gaps(report)} == {"corrupt"}
    assert len(report.plan.slots) == 20
    assert report.n_frames == 20 - len(lost)
    # A decoder that is being flushed does not always say that the last packet failed.
    assert len(lost) - (19 in lost) <= report.n_errors <= len(lost)
    clean = scan(whole)
    assert clean.plan.gaps == ()
    times = [slot.time for slot in clean.plan.slots]
    assert [slot.time for slot in report.plan.slots] == times


def test_ends_are_made_from_one_side(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", pan(20), gop=1)
    report = scan(spoil(whole, tmp_path / "spoilt.mkv", [0, 1, 19]))
    assert gaps(report) == [(0, 2, "corrupt", "backcast"), (19, 20, "corrupt", "forecast")]


def test_damage_is_decoded_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second reading, like the filling behind it, has one thread; a whole video has several."""
    readings: list[bool] = []

    class Reader(VideoReader):
        def __init__(self, path: Path, *, frame_threads: bool, verify: bool) -> None:
            readings.append(frame_threads)
            super().__init__(path, frame_threads=frame_threads, verify=verify)

    monkeypatch.setattr(scanning, "VideoReader", Reader)
    path = write_clip(tmp_path / "clip.mkv", pan(24), lossless=False)
    assert not scan(path).is_damaged
    assert readings == [True]
    damage_packets(path, [9], where="body")
    report = scan(path)
    assert readings == [True, True, False]
    assert report.is_damaged
    assert (report.n_frames, gaps(report)[0]) == (24, (9, 12, "corrupt", "fill"))
    with pytest.raises(MediaError, match="none of its frames"):
        scan(spoil(path, tmp_path / "spoilt.mkv", range(24)))
    assert readings[3:] == [True, False]


def test_nothing_decodes(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", pan(6), gop=1)
    spoilt = spoil(whole, tmp_path / "spoilt.mkv", range(6))
    with pytest.raises(MediaError, match=r"none of its frames can be decoded") as caught:
        scan(spoilt)
    assert "\n" not in str(caught.value)


# Pictures.


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("n", [1, 3, 8])
def test_frozen_run(tmp_path: Path, n: int, lossless: bool) -> None:
    path = write_clip(
        tmp_path / "clip.mkv",
        freeze(pan(48), 17, n),
        lossless=lossless,
        gop=250,
        options=None if lossless else {"crf": "23", "preset": "veryfast"},
    )
    report = scan(path)
    assert gaps(report) == [(17, 17 + n, "frozen", "fill")]
    assert all(slot.source is not None for slot in report.plan.slots)
    assert report.plan.gaps[0].n_before == 3
    assert scan(path, detect=("missing",)).plan.gaps == ()


def test_static_shot_and_slides_are_whole(tmp_path: Path) -> None:
    frames = [pan(1, seed=seed)[0] for seed in (1, 5, 9) for _ in range(15)]
    path = write_clip(tmp_path / "slides.mkv", frames, lossless=False)
    report = scan(path, detect=ALL)
    assert report.plan.gaps == ()
    assert report.plan.cuts == (15, 30)


def test_animation_on_twos_is_whole(tmp_path: Path) -> None:
    frames = [frame for frame in pan(24, speed=4) for _ in range(2)]
    path = write_clip(tmp_path / "twos.mkv", frames, lossless=False)
    assert scan(path, detect=ALL).plan.gaps == ()


@pytest.mark.parametrize("n", [1, 4])
def test_black_flash(tmp_path: Path, n: int) -> None:
    frames = pan(40)
    frames[15 : 15 + n] = [np.zeros_like(frames[0])] * n
    path = write_clip(tmp_path / "flash.mkv", frames, lossless=False)
    assert gaps(scan(path, detect=ALL)) == [(15, 15 + n, "black", "fill")]
    assert scan(path, detect=ALL).plan.cuts == ()
    assert scan(path).plan.gaps == (), "black is looked for only when asked"


def test_cut_and_fade_to_black_are_whole(tmp_path: Path) -> None:
    light = np.interp(np.arange(40), [10, 20, 23, 33], [1, 0, 0, 1])
    faded = [np.rint(f * s).astype(np.uint8) for f, s in zip(pan(40), light, strict=True)]
    cut = [*pan(20), *[np.zeros_like(faded[0])] * 4, *pan(20, seed=9)]
    for name, frames in (("fade", faded), ("cut", cut)):
        path = write_clip(tmp_path / f"{name}.mkv", frames, lossless=False)
        assert scan(path, detect=ALL).plan.gaps == ()


def test_hole_across_a_cut_is_split(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "clip.mkv",
        [*pan(20), *pan(20, seed=9)],
        times=make_times(44, holes=range(20, 24)),
    )
    report = scan(path)
    assert gaps(report) == [(20, 24, "missing", "split")]
    assert report.plan.gaps[0].cut == 22
    assert report.plan.cuts == (22,)


# Named gaps.


def test_named_gaps(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", pan(50))
    expected = [(10, 13, "named", "fill"), (25, 27, "named", "fill")]
    for named in (
        ["10:13", "25:27"],
        ["00:00:00.400-00:00:00.520", "1.0-1.08"],
        [SlotRange(10, 13), TimeRange(Fraction(1), Fraction(27, 25))],
    ):
        assert gaps(scan(path, detect=(), gaps=named)) == expected  # type: ignore[arg-type]


def test_named_garbage_is_no_cut_but_a_cut_behind_it_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = pan(40)
    for i in (20, 21, 22):
        frames[i] = rng.integers(0, 256, frames[0].shape, dtype=np.uint8)
    path = write_clip(tmp_path / "garbage.mkv", frames)
    assert gaps(scan(path, gaps=["20:23"])) == [(20, 23, "named", "fill")]
    frames[23:] = pan(17, seed=9)
    path = write_clip(tmp_path / "cut.mkv", frames)
    assert gaps(scan(path, gaps=["20:23"])) == [(20, 23, "named", "split")]


def test_named_gap_joins_the_hole_it_touches(tmp_path: Path) -> None:
    path, _ = write_gappy_clip(tmp_path / "clip.mkv", 30, [10, 11])
    assert gaps(scan(path, gaps=["12:14"])) == [(10, 14, "named", "fill")]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (["x"], "cannot read gap"),
        (["28:31"], "outside the video, which has frames 0:30"),
        (["5-6"], "outside the video"),
        (["2:5", "4:6"], "overlap"),
        (["0:30"], "no frame on either side"),
    ],
)
def test_bad_named_gaps(tmp_path: Path, named: list[str], message: str) -> None:
    path, _ = write_gappy_clip(tmp_path / "clip.mkv", 30, [])
    with pytest.raises(GapError, match=message):
        scan(path, gaps=named)


# The call itself.


def test_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown kind of gap 'blurred'"):
        scan(tmp_path / "clip.mkv", detect=("blurred",))  # type: ignore[arg-type]


def test_one_kind_alone(tmp_path: Path) -> None:
    path, _ = write_gappy_clip(tmp_path / "clip.mkv", 20, [7, 8])
    assert scan(path, detect="missing").plan == scan(path, detect=("missing",)).plan
    assert scan(path, detect="missing").plan.gaps


def test_max_gap_and_context(tmp_path: Path) -> None:
    path, _ = write_gappy_clip(tmp_path / "clip.mkv", 40, range(15, 20))
    assert gaps(scan(path, max_gap=5)) == [(15, 20, "missing", "fill")]
    assert gaps(scan(path, max_gap=4)) == [(15, 20, "missing", "leave")]
    planned = scan(path, context=2).plan.gaps[0]
    assert (planned.n_before, planned.n_after) == (2, 2)


def test_progress_goes_up_to_the_end(tmp_path: Path) -> None:
    path, _ = write_gappy_clip(tmp_path / "clip.mkv", 30, [])
    calls: list[Progress] = []
    scan(path, on_progress=calls.append)
    assert [call.done for call in calls] == sorted({call.done for call in calls} | {30})
    assert calls[-1] == Progress("scan", 30, 30)
    assert {call.stage for call in calls} == {"scan"}


def test_report_is_json(tmp_path: Path) -> None:
    path, _ = write_gappy_clip(tmp_path / "clip.mkv", 30, [10, 11])
    report = json.loads(json.dumps(scan(path).as_dict(), allow_nan=False))
    assert report["gaps"] == [
        {
            "start": 10,
            "stop": 12,
            "time": 0.4,
            "kind": "missing",
            "action": "fill",
            "reason": "2 missing frames: filled from 3 before and 3 after",
            "context_before": 3,
            "context_after": 3,
        }
    ]
    assert report["frames_in"] == 28
    assert report["frames_ideal"] == 30
    assert report["frames_to_make"] == 2
    assert report["frame_rate"] == 25


def test_one_frame(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", pan(1))
    report = scan(path, detect=ALL)
    assert (report.n_frames, report.plan.gaps, report.plan.cuts) == (1, (), ())


# Files from the world.

needs_awkward = pytest.mark.skipif(
    not (SHARED / "awkward").is_dir(), reason="the collection of awkward files is not here"
)


@needs_awkward
@pytest.mark.parametrize(
    "name",
    [
        "awesome_movie.mov",
        "vfr_screencast_null.webm",
        "vfr_msmpeg4v3.asf",
        "roadtrip-vp92-10bit.webm",
        "sample_android_slow_motion.mp4",
        "400x300-red-resize-200x150-green.mp4",
        "apng_different_durations.png",
        "bipbop.mp4",
        "bipbop-lateaudio.mp4",
        "gst_start3600.ts",
        "sample_with_pgs_subtitles.mkv",
        "iibbibb_editlist_videoonly.mp4",
        "edit_discard20.mov",
        "BA_MW_D_P_LOST.264",
        "mpeg2_pal.mxf",
        "av1_444.ivf",
        "dispose_bgnd.gif",
    ],
)
def test_real_files_without_holes(name: str) -> None:
    report = scan(SHARED / "awkward" / name, detect=("missing", "corrupt"))
    assert report.plan.gaps == ()


@needs_awkward
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sd-hls0000000000.ts", [(1, 3, "missing", "fill")]),
        ("truncated_102400.mkv", [(36, 37, "missing", "fill")]),
        # Its first two packets are stamped 46 ms early: one leaves a hole, one is put right.
        ("cover_png.mkv", [(1, 2, "missing", "fill")]),
        ("decode_error_vp9.webm", [(0, 128, "corrupt", "leave")]),
        ("no-initial-keyframe.ts", [(0, 64, "corrupt", "leave")]),
        # Slot 30 does not decode; the frame in slot 32 decodes, but is flagged as damaged.
        ("corrupted.mp4", [(30, 31, "corrupt", "fill"), (32, 33, "corrupt", "fill")]),
    ],
)
def test_real_files_with_holes(name: str, expected: list[tuple[int, int, str, str]]) -> None:
    report = scan(SHARED / "awkward" / name, detect=("missing", "corrupt", "frozen"))
    assert gaps(report) == expected


@needs_awkward
@pytest.mark.parametrize(
    "name", ["init_only.mp4", "short-cenc.mp4", "invalid-bitstream.webm", "sample_with_sdt.ts"]
)
def test_real_files_without_pictures(name: str) -> None:
    with pytest.raises(MediaError, match="none of its frames can be decoded"):
        scan(SHARED / "awkward" / name)


CLIPS = sorted((SHARED / "clips" / "val").glob("*.mp4"))
needs_clips = pytest.mark.skipif(not CLIPS, reason="the real clips are not here")


@needs_clips
def test_real_clips_are_whole() -> None:
    """Single shots of hand-held, fast, slow and drawn motion: no false alarm."""
    for path in CLIPS[::8]:
        assert scan(path, detect=ALL).plan.gaps == (), path.name


@needs_clips
@pytest.mark.slow
def test_all_real_clips_are_whole() -> None:
    for path in CLIPS:
        assert scan(path, detect=ALL).plan.gaps == (), path.name
