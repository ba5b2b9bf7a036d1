"""Real frames as RGB: made once while there is room for it, given up in time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest
from av.video.frame import VideoFrame

from framepred import shown
from framepred.colour import Frame, to_rgb
from framepred.journal import digest_picture
from framepred.relay import Crew, work_beside
from framepred.shown import ShownFrames
from framepred.tasks import Task

FILL = Task(first=0, start=2, stop=3, last=5, gap=0)
CHECK = Task(first=3, start=5, stop=6, last=7, gap=0, is_check=True)
N_BYTES = 16 * 8 * 3  # of a frame


@pytest.fixture
def crew() -> Iterator[Crew]:
    with work_beside(2) as crew:
        yield crew


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indices of the frames that were made RGB, as it happens."""
    found: list[int] = []

    def convert(frame: Frame) -> object:
        found.append(frame.index)
        return to_rgb(frame)

    monkeypatch.setattr(shown, "to_rgb", convert)
    return found


def make_frame(index: int) -> Frame:
    image = np.full((8, 16, 3), 10 * index, np.uint8)
    return Frame(VideoFrame.from_ndarray(image, "rgb24"), Fraction(index), index)


def add_all(frames: ShownFrames, n: int = 8) -> Callable[[int], Frame]:
    for index in range(n):
        frames.add(index, make_frame(index))
    return frames.__getitem__


def test_each_frame_is_converted_once(crew: Crew, converted: list[int]) -> None:
    frames = ShownFrames([FILL, CHECK], crew)
    add_all(frames)
    for slots in ([0, 1, 3, 4], [3, 4, 6], [5]):
        pictures = frames.look_up(slots)
        assert [int(each.image[0, 0, 0]) for each in pictures] == [10 * slot for slot in slots]
        assert all(each.digest == digest_picture(each.image) for each in pictures)
    assert sorted(converted) == [0, 1, 3, 4, 5, 6]  # 2 and 7 are nobody's concern


def test_what_is_held_is_not_converted(crew: Crew, converted: list[int]) -> None:
    frames = ShownFrames([Task(first=0, start=1, stop=2, last=3, gap=0, is_hold=True)], crew)
    frame = add_all(frames)
    assert frame(2).index == 2
    assert frames.look_up([]) == []
    assert not converted


def test_only_so_many_bytes_are_kept(crew: Crew, converted: list[int]) -> None:
    frames = ShownFrames([FILL, CHECK], crew, max_bytes=3 * N_BYTES)
    add_all(frames)
    for _ in range(2):
        assert len(frames.look_up([0, 1, 3, 4, 5])) == 5
    assert sorted(converted) == [0, 1, 3, 4, 4, 5, 5]
    frames.forget(3)  # makes room for two
    for _ in range(2):
        assert len(frames.look_up([3, 4, 5, 6])) == 4
    assert sorted(converted) == [0, 1, 3, 4, 4, 4, 5, 5, 5, 6, 6]


def test_forgotten_frames_are_gone(crew: Crew) -> None:
    frames = ShownFrames([FILL], crew)
    frame = add_all(frames)
    frames.forget(4)
    with pytest.raises(KeyError):
        frame(3)
    assert frame(4).index == 4
