"""Frames inserted where a recording was closed up: the timeline, the other streams, the files."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import av
import pytest
from blending import SlidePredictor
from synthetic import make_frames, make_times, read_packets, read_planes, write_clip
from typer.testing import CliRunner

from framepred.cli import app
from framepred.errors import GapError, OutputError
from framepred.filling import fill_gaps
from framepred.insertion import (
    Delay,
    Insertion,
    SoundRule,
    choose_sound,
    insert_slots,
    parse_insertion,
    parse_insertions,
)
from framepred.reports import FillReport
from framepred.timeline import Gap, Slot

N = 40  # frames that there once were, at 25 a second
LOST = (12, 13, 14, 30)
KEPT = [i for i in range(N) if i not in LOST]
ROOM = ("12:3", "27:1")  # counted in what is left
STEP = Fraction(1, 25)
CAPTIONS = (
    (Fraction(0), Fraction(2, 5), "before"),
    (Fraction(2, 5), Fraction(4, 5), "across"),
    (Fraction(4, 5), Fraction(1), "behind"),
)


# The timeline.


@pytest.mark.parametrize(
    ("text", "expected"), [("120:3", Insertion(120, 3)), (" 1 : 1 ", Insertion(1, 1))]
)
def test_insertion_is_read(text: str, expected: Insertion) -> None:
    assert parse_insertion(text) == expected


def test_insertions_are_taken_as_programs_name_them() -> None:
    assert parse_insertions(["120:3", (7, 1), Insertion(1, 2)]) == [
        Insertion(120, 3),
        Insertion(7, 1),
        Insertion(1, 2),
    ]
    assert parse_insertions("120:3") == [Insertion(120, 3)]
    with pytest.raises(GapError, match="cannot read insertion 120: write 120:3"):
        parse_insertions([120])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("12", "write 120:3"),
        ("a:3", "write 120:3"),
        ("12:-1", "write 120:3"),
        ("1.0-2.0", "write 120:3"),
        ("0:3", "no frame before frame 0"),
        ("12:0", "is of 0 frames"),
        ("12:10001", "is of 10001 frames"),
    ],
)
def test_what_is_no_insertion(text: str, message: str) -> None:
    with pytest.raises(GapError, match=message):
        parse_insertion(text)


def test_room_is_made_and_all_that_follows_moves() -> None:
    slots = [Slot(time, i) for i, time in enumerate(make_times(10))]
    made, gaps, cuts, delay = insert_slots(
        slots,
        [Gap(2, 4, "frozen"), Gap(6, 8, "named")],
        [5, 9],
        [Insertion(9, 1), Insertion(5, 2)],
        step=STEP,
    )
    assert [slot.time for slot in made] == make_times(13)
    sources = [*range(5), None, None, *range(5, 9), None, 9]
    assert [slot.source for slot in made] == sources
    for slot in made:
        if slot.source is not None:
            assert slot.time - slot.moved == slots[slot.source].time
    assert set(gaps) == {
        *(Gap(2, 4, "frozen"), Gap(8, 10, "named")),
        *(Gap(5, 7, "inserted"), Gap(11, 12, "inserted")),
    }
    # A cut seen at the place lies somewhere from the gap's start to its stop.
    assert cuts == [7, 12]
    assert delay == Delay(((Fraction(1, 5), 2 * STEP), (Fraction(9, 25), STEP)))
    assert [delay.at(Fraction(t, 25)) / STEP for t in (0, 4, 5, 8, 9, 50)] == [0, 0, 2, 2, 3, 3]
    assert delay.total == 3 * STEP


def test_without_a_rate_the_step_before_the_place_counts() -> None:
    slots = [Slot(Fraction(t), i) for i, t in enumerate((0, 1, 3, 10))]
    made, _, _, delay = insert_slots(slots, [], [], [Insertion(2, 3)], step=None)
    assert [slot.time for slot in made] == [0, 1, 3, 5, 7, 9, 16]
    assert delay.total == 6


def test_insertion_inside_a_gap_makes_it_longer() -> None:
    slots = [Slot(time, i if i not in (4, 5) else None) for i, time in enumerate(make_times(10))]
    _, gaps, _, _ = insert_slots(slots, [Gap(4, 6, "missing")], [], [Insertion(5, 2)], step=STEP)
    assert set(gaps) == {Gap(4, 8, "missing"), Gap(5, 7, "inserted")}


def test_nothing_inserted_nothing_changed() -> None:
    slots = tuple(Slot(time, i) for i, time in enumerate(make_times(5)))
    gaps = [Gap(1, 2, "frozen")]
    assert insert_slots(slots, gaps, [3], [], step=STEP) == (slots, gaps, [3], Delay())


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([Insertion(10, 1)], "outside the video, which has frames 0:10"),
        ([Insertion(4, 1), Insertion(4, 2)], "at one place"),
    ],
)
def test_places_that_cannot_be(wanted: list[Insertion], message: str) -> None:
    slots = [Slot(time, i) for i, time in enumerate(make_times(10))]
    with pytest.raises(GapError, match=message):
        insert_slots(slots, [], [], wanted, step=STEP)


@pytest.mark.parametrize(
    ("rule", "sound_end", "is_moved"),
    [
        ("auto", Fraction(10), True),
        ("auto", Fraction(10) + STEP, True),
        ("auto", Fraction(10) + 2 * STEP, False),
        ("auto", Fraction(11), False),
        ("auto", Fraction(9), True),
        ("keep", Fraction(10), False),
        ("move", Fraction(11), True),
    ],
)
def test_the_end_of_the_sound_tells(rule: SoundRule, sound_end: Fraction, is_moved: bool) -> None:
    choice = choose_sound(rule, [sound_end], Fraction(10), 4 * STEP)
    assert choice.is_moved == is_moved


def test_without_sound_streams_move_and_without_an_end_the_user_is_asked() -> None:
    assert choose_sound("auto", [], Fraction(10), STEP).is_moved
    with pytest.raises(GapError, match=r"say --sound keep .* or --sound move"):
        choose_sound("auto", [None], Fraction(10), STEP)


# Files.


def write_closed(path: Path, *, sound_ran_on: bool, codec: str = "ffv1") -> Path:
    """A clip without the lost frames, closed up, whose sound has its full length or not."""
    frames = make_frames(N)
    return write_clip(
        path,
        [frames[i] for i in KEPT],
        codec=codec,
        audio=True,
        audio_stop=(N if sound_ran_on else len(KEPT)) * STEP,
        chapters=True,
        subtitles=CAPTIONS,
    )


def fill(path: Path, output: Path, **kwargs: object) -> FillReport:
    options = {"insert": ROOM, "predictor": SlidePredictor(), "self_check": False, **kwargs}
    return fill_gaps(path, output, **options)  # type: ignore[arg-type]


def read_times(path: Path, kind: str) -> list[tuple[Fraction, Fraction]]:
    """(start, duration) of every packet of the streams of a kind."""
    with av.open(str(path)) as container:
        return [
            (packet.pts * packet.time_base, (packet.duration or 0) * packet.time_base)
            for packet in container.demux(*[s for s in container.streams if s.type == kind])
            if packet.size > 2 and packet.pts is not None
        ]


def read_chapters(path: Path) -> list[tuple[Fraction, Fraction]]:
    with av.open(str(path)) as container:
        return [
            (Fraction(c["start"]) * c["time_base"], Fraction(c["end"]) * c["time_base"])
            for c in container.chapters()
        ]


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4"])
def test_pictures_get_their_old_times_back_bit_for_bit(tmp_path: Path, name: str) -> None:
    codec = "ffv1" if name.endswith("mkv") else "libx264"
    path = write_closed(tmp_path / name, sound_ran_on=True, codec=codec)
    report = fill(path, tmp_path / f"out-{name}", lossless=True)
    made = read_planes(tmp_path / f"out-{name}")
    tolerance = Fraction(1, 1000)
    assert all(abs(time - k * STEP) < tolerance for k, (time, _) in enumerate(made))
    assert len(made) == N
    before = [digest for _, digest in read_planes(path)]
    assert [made[i][1] for i in KEPT] == before
    assert report.frames_made == 4
    assert [(gap.start, gap.stop, gap.kind, gap.action) for gap in report.gaps] == [
        (12, 15, "inserted", "fill"),
        (30, 31, "inserted", "fill"),
    ]


def test_sound_that_ran_on_keeps_its_times(tmp_path: Path) -> None:
    path = write_closed(tmp_path / "clip.mkv", sound_ran_on=True)
    report = fill(path, tmp_path / "out.mkv")
    assert report.inserted is not None
    assert not report.inserted.sound_moved
    assert report.inserted.seconds == 4 * STEP
    assert report.as_dict()["inserted"]["places"] == [0.48, 1.08]  # type: ignore[index,call-overload]
    for kind in ("audio", "subtitle"):
        assert read_times(tmp_path / "out.mkv", kind) == read_times(path, kind)
    assert read_chapters(tmp_path / "out.mkv") == read_chapters(path)


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4", "clip.mov"])
def test_sound_that_was_lost_too_moves_with_its_pictures(tmp_path: Path, name: str) -> None:
    codec = "ffv1" if name.endswith("mkv") else "libx264"
    path = write_closed(tmp_path / name, sound_ran_on=False, codec=codec)
    out = tmp_path / f"out-{name}"
    report = fill(path, out)
    assert report.inserted is not None
    assert report.inserted.sound_moved
    tick = Fraction(1, 1000)

    def later(time: Fraction) -> Fraction:
        return STEP * (3 * (time >= 12 * STEP) + (time >= 27 * STEP))

    before, behind = read_times(path, "audio"), read_times(out, "audio")
    assert len(before) == len(behind)
    for (old, _), (new, _) in zip(before, behind, strict=True):
        assert abs(new - old - later(old)) <= tick
    texts = read_times(path, "subtitle"), read_times(out, "subtitle")
    for (old, length), (new, new_length) in zip(*texts, strict=True):
        assert abs(new - old - later(old)) <= tick
        assert abs(new + new_length - old - length - later(old + length)) <= 2 * tick
    for old_span, new_span in zip(read_chapters(path), read_chapters(out), strict=True):
        for old, new in zip(old_span, new_span, strict=True):
            assert abs(new - old - later(old)) <= tick
    # Nothing but times changed.
    digests = [
        [digest for _, _, _, digest in packets]
        for at in (path, out)
        for stream, packets in read_packets(at).items()
        if stream
    ]
    assert digests[: len(digests) // 2] == digests[len(digests) // 2 :]


def test_reference_is_the_video_before_the_loss(tmp_path: Path) -> None:
    path = write_closed(tmp_path / "clip.mkv", sound_ran_on=True)
    whole = write_clip(tmp_path / "truth.mkv", make_frames(N), codec="ffv1")
    report = fill(path, tmp_path / "out.mkv", reference=whole)
    assert all(gap.psnr is not None and gap.psnr > 40 for gap in report.gaps)


def test_what_cannot_be_done_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = write_closed(tmp_path / "clip.mkv", sound_ran_on=False)
    for options, message in (
        ({"codec": "copy"}, "nothing can be inserted"),
        ({"output": tmp_path / "out.avi", "codec": "libx264"}, "keeps no times of aac sound"),
    ):
        with pytest.raises(OutputError, match=message) as caught:
            fill(path, **{"output": tmp_path / "out.mkv", **options})  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
    with pytest.raises(GapError, match="outside the video"):
        fill(path, tmp_path / "out.mkv", insert=["99:1"])
    assert not list(tmp_path.glob("*out*"))


def test_command_line(tmp_path: Path) -> None:
    path = write_closed(tmp_path / "clip.mkv", sound_ran_on=True)
    done = CliRunner().invoke(app, ["fill-gaps", str(path), "-n", "--insert", "12:3"])
    assert done.exit_code == 0
    said = re.sub(r"\s+", " ", done.stderr)
    assert "pictures last 0.120 s longer; the sound ends 0.1" in said
    assert "other streams keep their times" in said
    bad = CliRunner().invoke(app, ["fill-gaps", str(path), "-n", "--insert", "x"])
    assert bad.exit_code == 2


def test_a_rule_for_sound_that_nobody_knows() -> None:
    with pytest.raises(ValueError, match=r"is one of .* got 'loud'"):
        choose_sound("loud", [], Fraction(1), Fraction(1))  # type: ignore[arg-type]
