from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from blending import BlendPredictor
from synthetic import make_frames, read_packets, read_planes, write_clip, write_gappy_clip

from framepred.errors import MediaError, OutputError
from framepred.filling import fill_gaps
from framepred.forecasting import forecast
from framepred.interpolation import interpolate
from framepred.reports import StageClock
from framepred.stages import choose_depth, choose_lead, read_video, write_video
from framepred.video import Encoding, Frame, VideoReader, VideoWriter, from_rgb, probe

HOLES = [8, 15, 16]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return write_gappy_clip(folder / "clip.mkv", 40, HOLES, codec="ffv1", audio=True)[0]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def copy_in_threads(source: Path, target: Path, clock: StageClock) -> tuple[int, tuple[str, ...]]:
    info = probe(source)
    with (
        write_video(
            target, like=info, copy_streams=True, clock=clock, encoding=Encoding(lossless=True)
        ) as sink,
        read_video(info, copy_streams=True, clock=clock) as items,
    ):
        for item in items:
            if isinstance(item, Frame):
                sink.write(item)
            else:
                sink.copy(item)
    return sink.n_streams_copied, sink.left_out


def copy_step_by_step(source: Path, target: Path) -> tuple[int, tuple[str, ...]]:
    with (
        VideoReader(source, copy_streams=True) as reader,
        VideoWriter(target, like=reader, encoding=Encoding(lossless=True)) as writer,
    ):
        for item in reader.read():
            if isinstance(item, Frame):
                writer.write(item)
            else:
                writer.copy(item)
    return writer.n_streams_copied, writer.left_out


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mkv", {"codec": "ffv1"}),
        ("clip.mp4", {"b_frames": 2, "metadata": {"title": "a"}}),
        ("clip.ts", {"codec": "libx265"}),
    ],
)
def test_threads_write_what_one_after_the_other_writes(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    source = write_clip(tmp_path / name, make_frames(60), audio=True, **options)
    clock = StageClock()
    apart, together = tmp_path / f"apart-{name}", tmp_path / f"together-{name}"
    assert copy_in_threads(source, apart, clock) == copy_step_by_step(source, together)
    assert read_planes(apart) == read_planes(together) == read_planes(source)
    assert read_packets(apart) == read_packets(together)
    assert clock.seconds().decode > 0
    assert clock.seconds().encode > 0


def test_queues_of_large_frames_are_short(clip: Path) -> None:
    info = probe(clip)
    assert choose_depth(info) == 64
    large = dataclasses.replace(info, width=3840, height=2160)
    assert choose_depth(large) == 10  # of 12.4 MB each
    assert choose_depth(dataclasses.replace(large, bit_depth=10)) == 5
    assert choose_depth(dataclasses.replace(large, width=15360, height=8640)) == 4


def test_few_large_frames_are_taken_ahead(clip: Path) -> None:
    info = probe(clip)
    assert choose_lead(info) == 8
    large = dataclasses.replace(info, width=3840, height=2160)
    assert choose_lead(large) == 1  # of 37 MB each
    assert choose_lead(dataclasses.replace(large, bit_depth=10)) == 0
    assert choose_lead(dataclasses.replace(info, average_rate=Fraction(5, 2))) == 2
    assert choose_lead(dataclasses.replace(info, average_rate=None)) == 8


def raise_rate(source: Path, target: Path) -> None:
    interpolate(source, target, times=2, predictor=BlendPredictor())


@pytest.mark.parametrize("name", ["filling", "interpolation"])
def test_frames_still_in_work_are_waited_for(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """In their place, however long it takes to make them of what the network has said."""
    work = fill if name == "filling" else raise_rate
    work(clip, tmp_path / "fast.mkv")

    def convert(*given: Any, **options: Any) -> Frame:
        time.sleep(0.02)
        return from_rgb(*given, **options)

    monkeypatch.setattr(f"framepred.{name}.from_rgb", convert)
    work(clip, tmp_path / "slow.mkv")
    assert read_planes(tmp_path / "slow.mkv") == read_planes(tmp_path / "fast.mkv")


@pytest.mark.parametrize("name", ["filling", "interpolation"])
def test_how_many_are_taken_ahead_changes_nothing(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    found = []
    for lead in (0, 1, 8, 100):
        monkeypatch.setattr(f"framepred.{name}.choose_lead", lambda info, lead=lead: lead)
        target = tmp_path / f"{lead}.mkv"
        (fill if name == "filling" else raise_rate)(clip, target)
        found.append((read_planes(target), read_packets(target)))
    assert found[0] == found[1] == found[2] == found[3]


# What goes wrong in another thread.


def fill(source: Path, target: Path) -> None:
    fill_gaps(source, target, predictor=BlendPredictor())


def extend(source: Path, target: Path) -> None:
    forecast(source, target, n_frames=2, predictor=BlendPredictor())


@pytest.mark.parametrize("work", [fill, extend])
@pytest.mark.parametrize("method", ["write", "copy", "_encode"])
def test_an_error_in_writing_is_raised_and_leaves_nothing(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Any, method: str
) -> None:
    original = getattr(VideoWriter, method)
    n_calls = 0

    def fail(self: VideoWriter, *items: Any) -> None:
        nonlocal n_calls
        n_calls += 1
        last = method == "_encode" and items == (None,)  # when the file is closed
        if last or (method != "_encode" and n_calls == 5):
            raise OutputError("the disk is full")
        original(self, *items)

    monkeypatch.setattr(VideoWriter, method, fail)
    with pytest.raises(OutputError, match="disk is full"):
        work(clip, tmp_path / "out.mkv")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("name", ["filling", "interpolation"])
def test_an_error_in_making_a_frame_is_raised_and_leaves_nothing(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*given: Any, **options: Any) -> Frame:
        raise MediaError("no such pixels")

    monkeypatch.setattr(f"framepred.{name}.from_rgb", fail)
    with pytest.raises(MediaError, match="no such pixels"):
        (fill if name == "filling" else raise_rate)(clip, tmp_path / "out.mkv")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("work", [fill, extend])
def test_an_error_in_reading_is_raised_and_leaves_nothing(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Any
) -> None:
    class Damaged(VideoReader):
        def read(self) -> Iterator[Any]:
            for n, item in enumerate(super().read()):
                if n == 20:
                    raise MediaError("the disk is gone")
                yield item

    monkeypatch.setattr("framepred.stages.VideoReader", Damaged)
    with pytest.raises(MediaError, match="disk is gone"):
        work(clip, tmp_path / "out.mkv")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
sys.path.insert(0, {tests!r})
from blending import BlendPredictor
import framepred.predictor, framepred.stages
from framepred.cli import run
from framepred.video import VideoReader, VideoWriter
slow_read, slow_write = {slow_read}, {slow_write}
class Reader(VideoReader):
    def read(self):
        for n, item in enumerate(super().read()):
            if slow_read and n > 3:
                print("at work", flush=True)
                time.sleep(0.5)
            yield item
class Writer(VideoWriter):
    def write(self, frame):
        if slow_write:
            print("at work", flush=True)
            time.sleep(0.5)
        super().write(frame)
framepred.stages.VideoReader, framepred.stages.VideoWriter = Reader, Writer
framepred.predictor.Predictor.load = lambda *args, **options: BlendPredictor()
sys.argv = ["framepred", "fill-gaps", {clip!r}, "--no-self-check"]
run()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are a matter of POSIX")
@pytest.mark.parametrize("slow", ["read", "write"])
def test_ctrl_c_is_heard_while_waiting_for_a_thread(clip: Path, slow: str) -> None:
    script = SLOW.format(
        tests=str(Path(__file__).parent),
        clip=str(clip),
        slow_read=slow == "read",
        slow_write=slow == "write",
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(signal.SIGINT)
        try:
            more, said = process.communicate(timeout=30)
        finally:
            process.kill()  # if it stands still, or the end of the block would wait for it
    # Two seconds at most: what was in work, and what began before the signal came through.
    assert more.count("at work") <= 3
    assert process.returncode == 130
    assert said.startswith("error: interrupted")
    assert len(said.splitlines()) == 1
    assert [path.name for path in clip.parent.iterdir()] == ["clip.mkv"]
