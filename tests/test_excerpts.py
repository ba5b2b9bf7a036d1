"""Decoding only what is looked at: the same frames, and nothing of what is far from a gap."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from blending import BlendPredictor
from synthetic import make_frames, make_times, read_packets, write_clip

from framepred import filling, forecasting
from framepred.errors import MediaError
from framepred.excerpts import Excerpts, plan_excerpts, read_excerpts
from framepred.filling import fill_gaps
from framepred.forecasting import forecast
from framepred.scanning import scan
from framepred.splicing import list_wishes
from framepred.tasks import Task, list_tasks
from framepred.timeline import Plan
from framepred.video import Frame, Graft, Unread, VideoReader, plan_graft
from framepred.views import Views

N, GOP = 60, 10
HOLES = [24, 25]
PARAMS = {
    "libx264": {"x264-params": "scenecut=0"},
    "libx265": {"x265-params": "log-level=none:pools=1:open-gop=0"},
    "libx265, open": {"x265-params": "log-level=none:pools=1:open-gop=1:bframes=3:b-adapt=0"},
}


def make_clip(path: Path, coding: str = "libx264") -> Path:
    frames = make_frames(N)
    return write_clip(
        path,
        [frames[i] for i in range(N) if i not in HOLES],
        times=make_times(N, holes=HOLES),
        codec=coding.split(",")[0],
        options=PARAMS[coding],
        lossless=False,
        b_frames=3,
        gop=GOP,
        audio=True,
    )


def plan_all(path: Path, output: Path) -> tuple[Plan, Graft]:
    scanned = scan(path)
    wishes = list_wishes(scanned.plan)
    return scanned.plan, plan_graft(scanned.info, wishes, output=output)


def decode(path: Path, excerpts: Excerpts) -> list[Any]:
    with VideoReader(path, copy_streams=True) as reader:
        return [
            (item, item.native.to_ndarray()) if isinstance(item, Frame) else (item, None)
            for item in read_excerpts(reader, excerpts)
        ]


def count_pictures(excerpts: Excerpts) -> int:
    return sum(map(len, excerpts.groups))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("coding", PARAMS)
def test_what_is_wanted_is_decoded_as_in_the_whole(
    tmp_path: Path, coding: str, suffix: str
) -> None:
    path = make_clip(tmp_path / f"clip{suffix}", coding)
    plan, graft = plan_all(path, tmp_path / f"out{suffix}")
    with VideoReader(path) as reader:
        whole = {frame.index: (frame.time, frame.native.to_ndarray()) for frame in reader.read()}
    n_packets = len(read_packets(path)[1])
    for seed in range(12):
        rng = random.Random(seed)
        slots = [slot for slot in rng.sample(range(N), rng.randrange(1, 6)) if slot not in HOLES]
        excerpts = plan_excerpts(graft, plan, [Task(i, i, i, i + 1, gap=0) for i in slots])
        assert excerpts is not None
        assert {plan.slots[slot].source for slot in slots} <= excerpts.wanted
        items = decode(path, excerpts)
        frames = [(item, image) for item, image in items if not isinstance(item, av.Packet)]
        assert [frame.index for frame, _ in frames] == list(range(N - len(HOLES)))
        for frame, image in frames:
            time, true = whole[frame.index]
            assert frame.time == time
            assert isinstance(frame, Frame if frame.index in excerpts.wanted else Unread)
            assert image is None or np.array_equal(image, true)
        assert len(items) - len(frames) == n_packets, "of the sound all packets come"


def test_far_from_the_gaps_nothing_is_decoded(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4")
    plan, graft = plan_all(path, tmp_path / "out.mp4")
    excerpts = plan_excerpts(graft, plan, list_tasks(plan, None))
    assert excerpts is not None
    assert count_pictures(excerpts) <= 2 * GOP
    (only,) = excerpts.groups
    assert only.start in (10, 20), "an entry: the file has no hole before"
    nothing = plan_excerpts(replace(graft, stretches=graft.stretches[:1]), plan, [])
    assert nothing is not None
    assert nothing.groups == ()
    items = [item for item, _ in decode(path, nothing) if not isinstance(item, av.Packet)]
    assert len(items) == N - len(HOLES)
    assert all(isinstance(item, Unread) for item in items)


def test_other_times_are_not_read_in_excerpts(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4")
    plan, graft = plan_all(path, tmp_path / "out.mp4")
    for shift in (Fraction(1, 25 * 512), Fraction(1, 10**6)):
        slots = list(plan.slots)
        slots[7] = replace(slots[7], time=slots[7].time + shift)
        moved = replace(plan, slots=tuple(slots))
        assert plan_excerpts(graft, moved, []) is None


@pytest.mark.parametrize("views", [False, True])
def test_the_output_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, views: bool
) -> None:
    path = make_clip(tmp_path / "clip.mp4", "libx265")  # the same bytes on any processor
    planned: list[Excerpts | None] = []

    def plan(*args: Any) -> Excerpts | None:
        planned.append(plan_excerpts(*args))
        return planned[-1]

    def fill(name: str) -> bytes:
        output = tmp_path / name
        wanted = Views(contact_sheet=output.with_suffix(".png")) if views else None
        fill_gaps(path, output, codec="copy", predictor=BlendPredictor(), views=wanted)
        return output.read_bytes()

    monkeypatch.setattr(filling, "plan_excerpts", plan)
    found = fill("one.mp4")
    assert len(planned) == (not views), "who looks at the whole video needs all of it"
    monkeypatch.setattr(filling, "plan_excerpts", lambda *args: None)
    assert found == fill("two.mp4")


@pytest.mark.parametrize("start", [None, Fraction(33, 25)])
def test_a_forecast_decodes_what_it_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Fraction | None
) -> None:
    path = make_clip(tmp_path / "clip.mp4", "libx265")  # the same bytes on any processor
    planned: list[Excerpts] = []

    def plan(*args: Any) -> Excerpts | None:
        excerpts = plan_excerpts(*args)
        assert excerpts is not None
        planned.append(excerpts)
        return excerpts

    def run(name: str) -> bytes:
        output = tmp_path / name
        forecast(path, output, n_frames=4, start=start, codec="copy", predictor=BlendPredictor())
        return output.read_bytes()

    monkeypatch.setattr(forecasting, "plan_excerpts", plan)
    found = run("one.mp4")
    assert count_pictures(planned[0]) <= 2 * GOP
    monkeypatch.setattr(forecasting, "plan_excerpts", lambda *args: None)
    assert found == run("two.mp4")


@pytest.mark.parametrize("what", ["content", "end"])
def test_a_video_that_changes_behind_the_scan(tmp_path: Path, what: str) -> None:
    path = make_clip(tmp_path / "clip.mkv")
    plan, graft = plan_all(path, tmp_path / "out.mkv")
    excerpts = plan_excerpts(graft, plan, list_tasks(plan, 4))
    assert excerpts is not None
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        stored = [packet for packet in container.demux(video=0) if packet.size]
        packet = stored[excerpts.groups[0][0]]
        start = data.index(bytes(packet))
        size = packet.size
    if what == "content":
        data[start + 8 : start + size] = bytes(size - 8)
    else:
        del data[start:]
    path.write_bytes(data)
    with pytest.raises(MediaError, match="did before"):
        decode(path, excerpts)
