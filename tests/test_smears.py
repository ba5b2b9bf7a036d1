"""Smeared frames: which ones a lost picture spoils, against decoders that know the whole video."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from blending import BlendPredictor
from synthetic import make_frames, make_times, read_planes, write_clip
from test_matrix import look
from test_scanning import gaps, pan

from framepred.detection import find_cuts
from framepred.filling import fill_gaps
from framepred.observations import Observer
from framepred.repairs import RepairFinder
from framepred.scanning import _choose_repairs, scan
from framepred.smears import find_baseless, find_smears
from framepred.timeline import Gap, Slot


def lay(order: str, damaged: Sequence[int]) -> tuple[Gap, ...]:
    """Find the smears of pictures that are shown as in `order`: K key, P stored in order, b late.

    A late picture is stored behind the next one that is not late.
    """
    times = make_times(len(order))
    stored: list[Fraction] = []
    late: list[Fraction] = []
    for time, kind in zip(times, order, strict=True):
        if kind == "b":
            late.append(time)
        else:
            stored += [time, *late]
            late = []
    slots = [Slot(time, i) for i, time in enumerate(times)]
    keys = {i for i, kind in enumerate(order) if kind == "K"}
    return find_smears(slots, damaged, keys=keys, packet_times=[*stored, *late])


@pytest.mark.parametrize(
    ("order", "damaged", "expected"),
    [
        ("KPPPPPKPP", [], []),
        ("KPPPPPKPP", [2], [(3, 6)]),
        ("KPPPPPKPP", [5], []),
        ("KPPPPPKPP", [0], [(1, 6)]),
        ("KPPPPPKPP", [7], [(8, 9)]),
        ("KPPPPPKPP", [2, 4], [(3, 4), (5, 6)]),
        ("KKKKKK", [2], []),
        ("KbbPbbPbbKbb", [4], []),  # nothing is predicted from it
        ("KbbPbbPbbKbb", [3], [(1, 3), (4, 9)]),
        ("KbbPbbPbbKbb", [6], [(4, 6), (7, 9)]),
        # Shown before the key frame, but predicted from it.
        ("KbbPbbKbbPbb", [6], [(4, 6), (7, 12)]),
    ],
)
def test_damage_spreads_to_the_next_key_frame(
    order: str, damaged: list[int], expected: list[tuple[int, int]]
) -> None:
    found = lay(order, damaged)
    assert [(gap.start, gap.stop) for gap in found] == expected
    assert {gap.kind for gap in found} <= {"smeared"}


@pytest.mark.parametrize(
    ("damaged", "expected"),
    [([], []), ([2], []), ([2, 5], [(3, 5)]), ([2, 7], []), ([1, 3, 8, 10], [(2, 3), (9, 10)])],
)
def test_where_the_decoder_refuses_a_smear_ends_with_damage(
    damaged: list[int], expected: list[tuple[int, int]]
) -> None:
    slots = [Slot(time, i) for i, time in enumerate(make_times(12))]
    found = find_smears(slots, damaged, keys={0, 6}, refuses=True, lost={0, 6})
    assert [(gap.start, gap.stop) for gap in found] == expected
    # Where it has been given all there was, it has refused all that is wrong.
    assert find_smears(slots, damaged, keys={0, 6}, refuses=True) == ()
    found = find_smears(slots, damaged, keys={0, 6}, refuses=True, lost={6})
    assert [(gap.start, gap.stop) for gap in found] == [run for run in expected if run[0] > 6]
    # What lies between a hole and what is refused for it decodes, but not to the right picture.
    holes = [Slot(slot.time, None if i in (1, 7) else i) for i, slot in enumerate(slots)]
    found = find_smears(holes, [3, 9], keys={0, 6}, refuses=True, lost={1, 7})
    assert [(gap.start, gap.stop) for gap in found] == [(2, 3), (8, 9)]
    assert find_smears(holes, [9], keys={0, 8}, refuses=True, lost={1, 7}) == ()


@pytest.mark.parametrize(
    ("stored", "holes", "claimed", "expected"),
    [
        ("0 2 6 10 3 4 5", [6], [], []),
        ("0 2 3 4 5 10 7 8 9 12", [6], [3], [3]),  # 6 was to be stored behind 2
        ("0 2 6 3 5 10 7 8 9 12", [4], [3, 5, 10], [3, 5]),  # 4 behind 6: 10 does not need it
        ("0 2 6 3 4 5 10 7 8 9 12", [], [10], []),  # nothing is missing
        ("0 1 2 4 5 6 7 8 9 10 11 12", [3], [4], [4]),
        ("0 1 2 4 5 6 7 8 9 10 11 12", [3], [9], []),  # in another group
    ],
)
def test_only_where_there_is_a_hole_is_a_reference_lost(
    stored: str, holes: list[int], claimed: list[int], expected: list[int]
) -> None:
    times = make_times(13)
    slots = [Slot(time, None if i in holes else i) for i, time in enumerate(times)]
    packet_times = [times[int(i)] for i in stored.split()]
    found = find_baseless(slots, claimed, keys=[0, 7], packet_times=packet_times)
    assert sorted(found) == expected
    # Without holes to be seen the numbers are believed.
    every = find_baseless(slots, claimed, keys=[0, 7], packet_times=packet_times, has_holes=False)
    assert every == set(claimed)
    smears = find_smears(slots, (), baseless=found, keys={0, 7}, packet_times=packet_times)
    assert {i for gap in smears for i in range(gap.start, gap.stop)} >= found


def test_slots_without_a_picture_are_no_smears() -> None:
    slots = [Slot(Fraction(i), None if i in (2, 4) else i) for i in range(8)]
    times = [slot.time for slot in slots]
    assert find_smears(slots, {2}, keys={0, 6}, packet_times=times) == (
        Gap(3, 4, "smeared"),
        Gap(5, 6, "smeared"),
    )


def damage(source: Path, target: Path, packet: int) -> Path:
    """Copy a clip with noise in the second half of one video packet."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        video = reader.streams.video[0]
        copy = writer.add_stream_from_template(video)
        for i, given in enumerate(p for p in reader.demux(video) if p.size):
            made = given
            if i == packet:
                noise = np.random.default_rng(3).bytes(given.size // 2)
                made = av.Packet(bytes(given)[: given.size - len(noise)] + noise)
                made.pts, made.dts, made.duration = given.pts, given.dts, given.duration
                made.time_base, made.is_keyframe = given.time_base, given.is_keyframe
            made.stream = copy
            writer.mux(made)
    return target


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_what_differs_from_the_whole_video_is_found(
    tmp_path: Path, codec: str, b_frames: int
) -> None:
    frames = pan(48, speed=3)
    whole = write_clip(
        tmp_path / "a.mkv", frames, codec=codec, lossless=False, b_frames=b_frames, gop=12
    )
    with av.open(str(whole)) as container:
        stored = [p.pts for p in container.demux(container.streams.video[0]) if p.size]
    at = next(i for i in range(14, 20) if stored[i] == max(stored[: i + 1]))  # not a B-frame
    spoilt = damage(whole, tmp_path / "b.mkv", at)
    report = scan(spoilt)
    true, seen = dict(read_planes(whole)), dict(read_planes(spoilt))
    wrong = [i for i, time in enumerate(sorted(true)) if seen.get(time) != true[time]]
    named = [i for start, stop, *_ in gaps(report) for i in range(start, stop)]
    assert len(wrong) > 3
    # A B-frame beside the damage may have been predicted from elsewhere.
    assert set(wrong) <= set(named)
    assert len(named) <= len(wrong) + b_frames
    assert {kind for _, _, kind, _ in gaps(report)} == {"corrupt"}
    assert report.plan.cuts == ()
    # Without the word, only what the decoder flags.
    flagged = scan(spoilt, detect=("missing", "corrupt", "frozen"))
    assert 1 <= flagged.plan.n_to_make < len(wrong)
    # What is written lies on the same times, and every other frame is the same.
    fill_gaps(spoilt, tmp_path / "c.mkv", predictor=BlendPredictor(), lossless=True)
    made = dict(read_planes(tmp_path / "c.mkv"))
    assert sorted(made) == sorted(true)
    for i, time in enumerate(sorted(true)):
        assert i in named or made[time] == true[time]


def test_a_picture_that_nothing_needs_smears_nothing(tmp_path: Path) -> None:
    """In AV1 the decoder refuses what lacks another picture, and calls the rest key frames."""
    options = {"preset": "10", "crf": "35"}
    frames = pan(40, speed=3)
    whole = write_clip(
        tmp_path / "a.mkv", frames, codec="libsvtav1", lossless=False, gop=39, options=options
    )
    true = {time: digest for time, digest, _ in look(whole)}
    n_wrong = n_found = n_false = n_alone = 0
    with av.open(str(whole)) as container:
        packets = [bytes(p) for p in container.demux(container.streams.video[0]) if p.size]
    spoilt = tmp_path / "b.mkv"
    for at in range(3, 36, 3):
        data = bytearray(whole.read_bytes())
        begin, size = data.find(packets[at]), len(packets[at])
        data[begin + size // 2 : begin + size] = b"\x5a" * (size - size // 2)
        spoilt.write_bytes(data)
        seen = {time: digest for time, digest, _ in look(spoilt)}
        wrong = {i for i, time in enumerate(sorted(true)) if seen.get(time) != true[time]}
        named = {i for start, stop, *_ in gaps(scan(spoilt)) for i in range(start, stop)}
        n_wrong, n_found = n_wrong + len(wrong), n_found + len(wrong & named)
        n_false += len(named - wrong)
        n_alone += len(wrong) == 1
    assert n_alone > 3
    assert n_wrong > 15
    assert n_found >= 0.9 * n_wrong
    assert n_false <= 1


def drop(source: Path, target: Path, lost: int) -> Path:
    """Copy a clip without one of its video packets."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        video = reader.streams.video[0]
        copy = writer.add_stream_from_template(video, opaque=True)
        for i, packet in enumerate(p for p in reader.demux(video) if p.size):
            if i != lost:
                packet.stream = copy
                writer.mux(packet)
    return target


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("libx264", "mkv"), ("libx264", "mp4"), ("libvpx", "webm"), ("libvpx-vp9", "webm")],
)
def test_a_lost_packet_smears_and_a_frame_that_never_was_does_not(
    tmp_path: Path, codec: str, suffix: str
) -> None:
    """In the times the two are alike, and no decoder complains."""
    frames = pan(48, speed=3)
    options: dict[str, Any] = {"codec": codec, "lossless": False, "gop": 12}
    whole = write_clip(tmp_path / f"a.{suffix}", frames, **options)
    lossy = drop(whole, tmp_path / f"b.{suffix}", 15)
    true, seen = dict(read_planes(whole)), dict(read_planes(lossy))
    wrong = [i for i, time in enumerate(sorted(true)) if seen.get(time) != true[time]]
    assert wrong == list(range(15, 24))
    kind = "corrupt" if codec == "libvpx" else "missing"  # VP8's are told one by one
    assert gaps(scan(lossy)) == [(15, 24, kind, "fill")]
    if kind == "missing":
        assert gaps(scan(lossy, detect=("missing", "corrupt"))) == [(15, 16, "missing", "fill")]
    kept = [frame for i, frame in enumerate(frames) if i != 15]
    times = make_times(48, holes=[15])
    gappy = write_clip(tmp_path / f"c.{suffix}", kept, times=times, **options)
    assert gaps(scan(gappy)) == [(15, 16, "missing", "fill")]


def test_a_shot_that_begins_with_a_key_frame_repairs_nothing(tmp_path: Path) -> None:
    """Encoders set a key frame where a shot begins; a frame that was never coded spoils nothing."""
    frames = np.concatenate([make_frames(24, seed=seed) for seed in (1, 2)])
    kept = [frame for i, frame in enumerate(frames) if i != 12]
    times = make_times(48, holes=[12])
    gappy = write_clip(tmp_path / "a.mkv", kept, times=times, lossless=False, gop=23)
    report = scan(gappy)
    assert report.plan.cuts == (24,)
    assert gaps(report) == [(12, 13, "missing", "fill")]


@pytest.mark.parametrize("is_same_shot", [True, False])
def test_back_from_a_torn_picture_is_no_cut(is_same_shot: bool) -> None:
    """What a key frame repairs may look like another scene; the frame before the loss tells."""
    shots = [to_gray(make_frames(12, width=160, height=96, seed=seed)) for seed in (1, 2)]
    rng = np.random.default_rng(4)
    torn = [rng.uniform(0, 255, (12, 20)).repeat(8, 0).repeat(8, 1) for _ in range(2)]
    pictures = [*shots[0][:8], torn[0], torn[0], torn[1], *shots[0 if is_same_shot else 1][8:]]
    observer = Observer(keep_signatures=True)
    for picture in pictures:
        observer.add(picture.astype(np.float32))
    observations = observer.observations()
    n_steps = [2 if i == 8 else 1 for i in range(len(pictures))]
    assert 11 in find_cuts(observations, n_steps=n_steps)
    seen = SimpleNamespace(repairs=[11], keys=[0, 11])
    chosen = _choose_repairs(seen, observations, n_steps)  # type: ignore[arg-type]
    assert chosen == ([11] if is_same_shot else [])


def to_gray(frames: Sequence[Any]) -> list[Any]:
    return [frame.mean(axis=2) for frame in frames]


@pytest.mark.parametrize("size", [(90, 160), (5, 7), (8, 8), (8, 17)])
def test_pictures_that_snap_back(size: tuple[int, int]) -> None:
    """A corner that shows something else for six frames, until a key frame."""
    rng = np.random.default_rng(1)
    picture = rng.uniform(0, 255, (size[0], size[1] + 60)).astype(np.float32)
    shots = [picture[:, i : i + size[1]].copy() for i in range(30)]
    for is_smeared in (False, True):
        finder = RepairFinder()
        for i, shot in enumerate(shots):
            if is_smeared and 9 <= i < 15:
                shot[: size[0] // 2 + 1, : size[1] // 2 + 1] = 255
            finder.add(shot, is_suspect=i in (15, 28))
        finder.finish()
        assert finder.found == ([15] if is_smeared and size[0] > 8 else [])


def test_a_long_smear_is_left_and_its_damage_made_all_the_same(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "a.mkv", pan(48, speed=3), lossless=False, gop=250)
    spoilt = damage(whole, tmp_path / "b.mkv", 10)
    report = scan(spoilt)
    assert gaps(report) == [(10, 11, "corrupt", "fill"), (11, 48, "smeared", "leave")]
    assert report.plan.gaps[1].reason == (
        "37 smeared frames: with the damage beside, longer than the limit of 16, left as it is"
    )
    assert report.plan.gaps[0].n_after == 3
    assert gaps(scan(spoilt, max_gap=40)) == [(10, 48, "corrupt", "forecast")]
