from __future__ import annotations

import _thread
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scenery import film
from synthetic import make_frames, write_clip
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from framepred import clips
from framepred.clips import (
    Batch,
    Clip,
    ClipLibrary,
    ClipSampler,
    Situation,
    find_videos,
    load_clips,
)
from framepred.errors import MediaError, TrainingError
from framepred.reports import Progress

Videos = Callable[..., list[Path]]
Image = NDArray[np.uint8]


@pytest.fixture
def videos(monkeypatch: pytest.MonkeyPatch) -> Videos:
    """Pretend that there are videos with these frames."""

    def pretend(**contents: Any) -> list[Path]:
        def read(path: Path) -> Iterator[Image]:
            for item in contents[path.stem]:
                if isinstance(item, Exception):
                    raise item
                yield item

        monkeypatch.setattr(clips, "open_rgb_frames", read)
        return [Path(f"{name}.mp4") for name in contents]

    return pretend


def flat(value: int, *, height: int = 20, width: int = 24) -> Image:
    return np.full((height, width, 3), value, np.uint8)


def labelled(
    *starts_and_lengths: tuple[int, int], height: int = 20, width: int = 24
) -> ClipLibrary:
    """Clips of constant grey that goes up by one a frame, from a start of their own."""
    made = tuple(
        Clip(
            Path(f"{start}.mp4"),
            torch.arange(start, start + n, dtype=torch.uint8)
            .view(n, 1, 1, 1)
            .expand(n, 3, height, width)
            .contiguous(),
        )
        for start, n in starts_and_lengths
    )
    return ClipLibrary(made, sum(n for _, n in starts_and_lengths), 0, ())


def make_sampler(library: ClipLibrary, *, seed: int = 0, **options: Any) -> ClipSampler:
    chosen = {"batch_size": 3, "crop": 16, "max_gap": 8, "forecast_share": 0.3, **options}
    return ClipSampler(library, generator=torch.Generator().manual_seed(seed), **chosen)


# ---- finding ----------------------------------------------------------------------------------


def test_files_and_folders(tmp_path: Path) -> None:
    for name in ("b.MP4", "a.mkv", "sub/c.webm", "notes.txt", "sub/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    names = ["a.mkv", "b.MP4", "sub/c.webm"]
    assert find_videos([tmp_path]) == [tmp_path / name for name in names]
    named = [tmp_path / "notes.txt", str(tmp_path / "sub")]  # a file that is named is taken
    assert find_videos(named) == [tmp_path / "notes.txt", tmp_path / "sub/c.webm"]


def test_nothing_to_find(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no videos found"):
        find_videos([tmp_path])
    with pytest.raises(TrainingError, match="no videos found"):
        find_videos([])
    with pytest.raises(TrainingError, match="no such file or folder"):
        find_videos([tmp_path / "missing.mp4"])


# ---- loading ----------------------------------------------------------------------------------


def test_frames_of_a_real_file(tmp_path: Path) -> None:
    frames = make_frames(6)
    path = write_clip(tmp_path / "clip.mkv", frames, codec="ffv1")
    reports: list[Progress] = []
    library = load_clips([path], max_bytes=10**8, on_progress=reports.append)
    (clip,) = library.clips
    assert clip.path == path
    assert clip.frames.shape == (6, 3, 48, 64)
    assert clip.frames.dtype == torch.uint8
    assert (library.n_frames, library.n_frames_left_out, library.problems) == (6, 0, ())
    truth = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    assert (clip.frames.int() - truth.int()).abs().float().mean() < 2.5  # subsampled colour
    assert [(r.stage, r.done, r.total) for r in reports] == [("decode", 0, 1), ("decode", 1, 1)]


def test_channels_and_places_are_kept(videos: Videos) -> None:
    frames = np.random.default_rng(0).integers(100, 110, (5, 20, 24, 3), np.uint8)
    library = load_clips(videos(a=frames), max_bytes=10**6)
    assert np.array_equal(library.clips[0].frames.numpy(), frames.transpose(0, 3, 1, 2))


def test_a_video_is_cut_into_shots(videos: Videos) -> None:
    one, two = film(7, 64, 80, name="chelsea"), film(6, 64, 80, name="rocket", speed=(-2.0, 1.0))
    library = load_clips(videos(a=[*one, *two]), max_bytes=10**8)
    assert [len(clip.frames) for clip in library.clips] == [7, 6]
    assert np.array_equal(library.clips[1].frames[0].numpy(), two[0].transpose(2, 0, 1))


def test_fast_motion_is_no_cut(videos: Videos) -> None:
    library = load_clips(videos(a=film(12, 64, 80, speed=(9.0, 7.0))), max_bytes=10**8)
    assert [len(clip.frames) for clip in library.clips] == [12]


def test_shots_too_short_to_learn_from_are_dropped(videos: Videos) -> None:
    paths = videos(a=[flat(0)] * 3 + [flat(200)] * 5, b=[flat(9)] * 3)
    library = load_clips(paths, max_bytes=10**8)
    assert [len(clip.frames) for clip in library.clips] == [5]
    assert library.n_frames == 5
    assert library.problems == ("b.mp4: no shot of at least 4 frames",)


def test_memory_is_shared_and_what_is_left_out_is_counted(videos: Videos) -> None:
    size = flat(0).nbytes
    paths = videos(a=[flat(k) for k in range(30)], b=[flat(k) for k in range(6)])
    library = load_clips(paths, max_bytes=20 * size + 5)
    assert [len(clip.frames) for clip in library.clips] == [10, 6]
    assert library.n_frames_left_out == 20
    assert library.clips[0].frames[:, 0, 0, 0].tolist() == [*range(10)]  # from the start


def test_what_one_video_leaves_the_next_may_use(videos: Videos) -> None:
    size = flat(0).nbytes
    paths = videos(a=[flat(k) for k in range(4)], b=[flat(k) for k in range(40)])
    library = load_clips(paths, max_bytes=20 * size)
    assert [len(clip.frames) for clip in library.clips] == [4, 16]
    assert library.n_frames_left_out == 24
    assert sum(clip.frames.nbytes for clip in library.clips) <= 20 * size


@pytest.mark.parametrize("seed", range(20))
def test_side_by_side_is_as_one_after_the_other(
    videos: Videos, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    dice = np.random.default_rng(seed)
    monkeypatch.setattr(clips, "_MOST_AT_ONCE", int(dice.integers(1, 5)))
    lengths = [int(n) for n in dice.choice([4, 5, 9, 30], 12)]
    room = int(dice.integers(60, 200))  # frames
    expected = []
    spent = 0
    for k, n in enumerate(lengths):
        expected.append(min(n, (room - spent) // (len(lengths) - k)))
        spent += expected[-1]
    library = load_clips(
        videos(**{f"v{k}": [flat(7)] * n for k, n in enumerate(lengths)}),
        max_bytes=room * flat(0).nbytes,
    )
    assert [len(clip.frames) for clip in library.clips] == [n for n in expected if n >= 4]
    assert library.n_frames_left_out == sum(lengths) - sum(expected)


def test_whoever_interrupts_waits_for_no_video(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path) -> Iterator[Image]:
        while True:
            time.sleep(0.001)
            yield flat(0)

    def interrupt(progress: Progress) -> None:
        threading.Timer(0.1, _thread.interrupt_main).start()

    monkeypatch.setattr(clips, "open_rgb_frames", read)
    begin = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            load_clips([Path("a.mp4"), Path("b.mp4")], max_bytes=2**40, on_progress=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - begin < 5
    assert not [t for t in threading.enumerate() if t.name.startswith("beside")]


def test_no_room_for_anything(videos: Videos) -> None:
    with pytest.raises(
        TrainingError, match=r"nothing to learn from in 1 file.*share of the memory"
    ):
        load_clips(videos(a=[flat(0)] * 9), max_bytes=flat(0).nbytes)


def test_bad_files_are_listed_and_passed_over(videos: Videos) -> None:
    paths = videos(
        broken=[MediaError("broken.mp4: not a video")],
        breaking=[*[flat(1)] * 9, MediaError("breaking.mp4: broke off")],
        growing=[*[flat(1)] * 9, flat(1, height=30)],
        good=[flat(2)] * 4,
        empty=[],
    )
    library = load_clips(paths, max_bytes=10**8)
    assert [clip.path.stem for clip in library.clips] == ["good"]
    assert library.problems == (
        "broken.mp4: not a video",
        "breaking.mp4: broke off",
        "growing.mp4: the picture changes size midway",
        "empty.mp4: no shot of at least 4 frames",
    )


def test_nothing_usable(videos: Videos) -> None:
    with pytest.raises(TrainingError, match=r"nothing to learn from.*a\.mp4: not a video"):
        load_clips(videos(a=[MediaError("a.mp4: not a video")]), max_bytes=10**8)
    with pytest.raises(TrainingError, match="no frames"):
        load_clips([], max_bytes=10**8)


# ---- sampling ---------------------------------------------------------------------------------


def read_labels(batch: Batch) -> list[list[int]]:
    """The grey of every frame of every window; every pixel of a frame must agree."""
    found = []
    for window in batch.frames:
        values = window.mul(255).round().long().flatten(1)
        assert (values == values[:, :1]).all()
        found.append(values[:, 0].tolist())
    return found


def test_windows_are_real_consecutive_frames_of_one_clip() -> None:
    library = labelled((0, 12), (50, 30), (100, 5), (150, 20))
    sampler = make_sampler(library)
    directions = Counter[int]()
    for _ in range(150):
        batch = sampler.draw()
        situation = batch.situation
        assert batch.frames.shape == (3, situation.n_frames, 3, 16, 16)
        for window in read_labels(batch):
            steps = set(np.diff(window).tolist())
            assert len(steps) == 1
            (step,) = steps
            assert abs(step) == situation.stride
            directions[step > 0] += 1
            inside = [
                set(window) <= set(range(start, start + n))
                for start, n in ((0, 12), (50, 30), (100, 5), (150, 20))
            ]
            assert inside.count(True) == 1
    assert min(directions[True], directions[False]) > 150  # of 450: half of them reversed


def test_a_batch_falls_into_known_and_missing() -> None:
    sampler = make_sampler(labelled((0, 40)))
    for _ in range(60):
        batch = sampler.draw()
        situation = batch.situation
        assert batch.before.shape[1] == situation.n_before
        assert batch.missing.shape[1] == situation.n_missing
        parts = [batch.before, batch.missing]
        if situation.n_after:
            assert batch.after is not None
            assert batch.after.shape[1] == situation.n_after
            parts.append(batch.after)
        else:
            assert batch.after is None
        assert torch.equal(torch.cat(parts, 1), batch.frames)
        assert batch.frames.dtype == torch.float32
        assert 0 <= batch.frames.min() <= batch.frames.max() <= 1


def test_span() -> None:
    assert Situation(4, 2, 4, 1).span == 10
    assert Situation(4, 2, 4, 2).span == 19
    assert Situation(1, 1, 0, 2).n_frames == 2


def test_situations_cover_both_tasks_all_lengths_and_strides() -> None:
    sampler = make_sampler(labelled((0, 60)))
    drawn = [sampler.draw_situation() for _ in range(2000)]
    forecasts = [s for s in drawn if s.n_after == 0]
    fills = [s for s in drawn if s.n_after]
    assert len(forecasts) / len(drawn) == pytest.approx(0.3, abs=0.05)
    assert {s.n_missing for s in fills} == {s.n_missing for s in forecasts} == set(range(1, 9))
    lengths = Counter(s.n_missing for s in fills)
    assert lengths[1] / len(fills) == pytest.approx(15 / 64, abs=0.05)
    assert lengths[8] / len(fills) == pytest.approx(1 / 64, abs=0.02)
    assert {s.n_before for s in forecasts} == {2, 3, 4, 6, 8}
    assert {s.stride for s in drawn} == {1, 2}
    assert all(s.stride == 1 for s in drawn if s.n_missing > 4)
    assert all(1 <= s.n_before <= 4 and 1 <= s.n_after <= 4 for s in fills)
    assert any(s.n_before != s.n_after for s in fills)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_one_task_alone(share: float) -> None:
    sampler = make_sampler(labelled((0, 30)), forecast_share=share)
    assert {sampler.draw_situation().n_after == 0 for _ in range(50)} == {share == 1}


def test_the_shortest_clip_is_enough() -> None:
    sampler = make_sampler(labelled((10, 4)), crop=500)
    assert sampler.crop == 20
    for _ in range(20):
        batch = sampler.draw()
        assert batch.situation.span <= 4
        assert batch.frames.shape[-2:] == (20, 20)


def test_the_crop_fits_the_smallest_clip() -> None:
    small, large = labelled((0, 8), height=13, width=30), labelled((50, 8), height=40, width=40)
    library = ClipLibrary((*small.clips, *large.clips), 16, 0, ())
    sampler = make_sampler(library, crop=32)
    assert sampler.crop == 13
    assert sampler.draw().frames.shape[-2:] == (13, 13)


def test_what_is_drawn_follows_from_the_state_of_the_generator() -> None:
    library = labelled((0, 30), (60, 30))
    one = make_sampler(library, seed=5)
    for _ in range(7):
        one.draw()
    state = one.generator.get_state()
    expected = [one.draw() for _ in range(5)]
    other = make_sampler(library, seed=99)
    other.generator.set_state(state)
    torch.manual_seed(123)  # nothing else is asked
    for batch in expected:
        again = other.draw()
        assert again.situation == batch.situation
        assert torch.equal(again.frames, batch.frames)
    fresh = make_sampler(library, seed=6)
    assert any(fresh.draw().situation != batch.situation for batch in expected)


def test_a_share_of_the_windows_shows_more_of_the_picture() -> None:
    # A ramp along both sides: as steep as in the clip, or up to twice as steep.
    ramp = (torch.arange(64)[:, None] + torch.arange(64)[None, :]).to(torch.uint8)
    clip = Clip(Path("a.mp4"), ramp.expand(4, 3, -1, -1).contiguous())
    for share in (0.0, 1.0):
        sampler = make_sampler(
            ClipLibrary((clip,), 4, 0, ()), crop=20, max_gap=1, shrink_share=share
        )
        windows = [sampler.draw().frames[0, 0, 0] * 255 for _ in range(20)]
        steps = torch.stack(
            [(w[1, 1] - w[0, 0]).abs() + (w[1, 0] - w[0, 1]).abs() for w in windows]
        )
        assert steps.min() >= 2
        assert steps.max() <= 4
        assert bool((steps > 2).any()) == bool(share)


def test_variations_leave_the_picture_whole() -> None:
    # Every pixel has a colour of its own: what comes out must be a square of the clip, mirrored,
    # turned or with its channels in another order.
    height, width = 18, 21
    values = torch.randperm(height * width, generator=torch.Generator().manual_seed(0))
    plane = (values % 251).view(height, width).to(torch.uint8)
    picture = torch.stack((plane, (plane.int() * 7 % 251).byte(), (plane.int() * 11 % 251).byte()))
    clip = Clip(Path("a.mp4"), picture.expand(6, -1, -1, -1).contiguous())
    sampler = make_sampler(ClipLibrary((clip,), 6, 0, ()), crop=16, batch_size=4)
    squares = {}
    for top in range(height - 16 + 1):
        for left in range(width - 16 + 1):
            square = picture[:, top : top + 16, left : left + 16]
            for turned in (square, square.transpose(-1, -2)):
                for name, flips in {"": (), "x": (-1,), "y": (-2,), "xy": (-1, -2)}.items():
                    for order in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]):
                        squares[turned.flip(flips)[order].numpy().tobytes()] = (name, tuple(order))
    seen = Counter[Any]()
    n_shrunk = 0
    for _ in range(60):
        for window in sampler.draw().frames.mul(255).round().byte():
            assert (window == window[:1]).all()
            key = window[0].contiguous().numpy().tobytes()
            if key in squares:
                seen[squares[key]] += 1
            else:
                n_shrunk += 1
    assert len({name for name, _ in seen}) == 4
    assert len({order for _, order in seen}) == 6
    assert 0 < n_shrunk < 0.3 * 240


def test_long_clips_are_drawn_oftener() -> None:
    # A gap of one frame takes few frames: there are places in both clips, and more in the longer.
    sampler = make_sampler(
        labelled((0, 20), (100, 80)), batch_size=8, max_gap=1, forecast_share=0.0
    )
    seen = Counter(window[0] >= 100 for _ in range(60) for window in read_labels(sampler.draw()))
    assert 2.5 * seen[False] < seen[True] < 8 * seen[False]


def test_to_another_device_keeps_the_rest() -> None:
    library = labelled((0, 5))
    moved = library.to("cpu")
    assert moved.clips[0].path == library.clips[0].path
    assert (moved.n_frames, moved.problems) == (5, ())


class _Border(TorchDispatchMode):
    """Nothing but numbers may go from one device to another, or tensors that are sent openly."""

    def __init__(self, *, sends: bool = False) -> None:
        super().__init__()
        self.sends = sends

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        leaves = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
        is_sent = self.sends and func is torch.ops.aten._to_copy.default
        assert is_sent or len({leaf.device for leaf in leaves}) <= 1, func
        return out


def test_pixels_stay_where_the_library_lies() -> None:
    # On "meta" there are only shapes: asking for a value is an error, as is copying one out.
    library = labelled((0, 40), height=40, width=40)
    here, there = make_sampler(library), make_sampler(library.to("meta"))
    with _Border():
        for _ in range(60):
            batch = there.draw()
            assert batch.frames.device.type == "meta"
            truth = here.draw()
            assert (batch.situation, batch.frames.shape) == (truth.situation, truth.frames.shape)
    assert torch.equal(here.generator.get_state(), there.generator.get_state())


# ---- synthetic scenes -------------------------------------------------------------------------


def test_a_share_of_the_batches_are_scenes() -> None:
    sampler = make_sampler(labelled((0, 40)), scene_share=0.5)
    batches = [sampler.draw() for _ in range(40)]
    scenes = [batch for batch in batches if batch.scene is not None]
    assert 8 < len(scenes) < 32
    assert len({batch.situation for batch in scenes}) > 3
    for batch in batches:
        assert batch.frames.shape == (3, batch.situation.n_frames, 3, 16, 16)
        assert 0 <= float(batch.frames.min()) <= float(batch.frames.max()) <= 1
    for batch in scenes:
        assert batch.scene is not None
        assert torch.equal(batch.scene.render(), batch.frames)


def test_scenes_change_nothing_where_there_are_none() -> None:
    library = labelled((0, 40))
    one, other = make_sampler(library), make_sampler(library, scene_share=0.0)
    for _ in range(5):
        assert torch.equal(one.draw().frames, other.draw().frames)
    assert torch.equal(one.generator.get_state(), other.generator.get_state())


def test_scenes_need_no_clips() -> None:
    sampler = make_sampler(ClipLibrary((), 0, 0, ()), scene_share=1.0)
    for _ in range(5):
        assert sampler.draw().scene is not None
    state = sampler.generator.get_state()
    frames = sampler.draw().frames
    sampler.generator.set_state(state)
    assert torch.equal(sampler.draw().frames, frames)


def test_a_stride_is_a_faster_scene() -> None:
    sampler = make_sampler(ClipLibrary((), 0, 0, ()), scene_share=1.0, batch_size=8, crop=32)
    speeds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(40):
        batch = sampler.draw()
        assert batch.scene is not None
        flows, _ = batch.scene.trace([(1, 0)])
        lengths = flows.square().sum(2).sqrt().flatten(1).median(1).values
        speeds[batch.situation.stride] += lengths.tolist()
    assert np.median(speeds[2]) > 1.3 * np.median(speeds[1])


def test_scenes_are_made_where_the_library_lies() -> None:
    library = labelled((0, 40), height=40, width=40)
    here = make_sampler(library, scene_share=1.0)
    there = make_sampler(library.to("meta"), scene_share=1.0, device="meta")
    with _Border(sends=True):
        for _ in range(2):  # every operation on shapes alone is slow
            batch, truth = there.draw(), here.draw()
            assert batch.scene is not None
            assert batch.frames.device.type == "meta"
            assert (batch.situation, batch.frames.shape) == (truth.situation, truth.frames.shape)
            flows, seen = batch.scene.trace([(1, 0), (0, 1)])
            assert flows.device.type == seen.device.type == "meta"
    assert torch.equal(here.generator.get_state(), there.generator.get_state())
