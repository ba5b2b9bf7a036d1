"""What is right in damaged frames: where the decoder made something up, and what is kept."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from blending import BlendPredictor, GrayPredictor, SlidePredictor
from numpy.typing import NDArray
from synthetic import make_frames, read_planes, write_clip

from framepred.colour import limit_samples
from framepred.concealment import CONCEALING, Twin, find_healed, mark_frames, read_twins
from framepred.errors import OutputError
from framepred.filling import fill_gaps
from framepred.metrics import psnr
from framepred.salvage import choose_nearer, keep_plausible, salvage_picture
from framepred.scanning import scan
from framepred.smears import find_mendable
from framepred.timeline import Gap, Slot
from framepred.video import Encoding, Frame, VideoReader, VideoWriter, to_rgb
from framepred.views import Views

Images = NDArray[np.uint8]
SIZE = (352, 288)
N, GOP, HIT = 30, 12, 14  # packet 14 is damaged, frames 14 to 23 with it
ENCODERS = {
    "libx264": ".mp4",
    "mpeg4": ".mp4",
    "mpeg2video": ".mkv",
    "mpeg1video": ".mkv",
    "flv": ".flv",
    "h263": ".avi",
    "msmpeg4v2": ".avi",
}
SUFFIXES = {**ENCODERS, "libvpx": ".mkv", "libvpx-vp9": ".mkv"}


def write_moving(folder: Path, encoder: str, x265: str = "wpp=1", n: int = N) -> Path:
    """A texture with grain that slides by (2, 1) pixels a frame, a key frame every twelve."""
    grain = np.random.default_rng(0).normal(0, 12, (SIZE[1], SIZE[0], 1))
    picture = make_frames(1, width=SIZE[0], height=SIZE[1])[0] * 0.7 + 38 + grain
    still = np.rint(picture.clip(0, 255)).astype(np.uint8)
    frames = [np.roll(still, (i, 2 * i), (0, 1)) for i in range(n)]
    options = {"crf": "18"} if encoder.startswith("libx26") else {"qmin": "2", "qmax": "3"}
    if encoder.startswith("libvpx"):
        options = {"deadline": "realtime", "cpu-used": "8", "b": "3M"}
    if encoder == "libx265":
        options["x265-params"] = f"log-level=none:ctu=32:pools=1:{x265}"
    return write_clip(
        folder / f"whole{SUFFIXES.get(encoder, '.mp4')}", frames, codec=encoder, pix_fmt="yuv420p",
        options=options, lossless=False, gop=GOP,
    )  # fmt: skip


def read_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(entry) for entry in container.demux(video=0) if entry.size]


def spoil(whole: Path, *, packet: int = HIT, keep: float = 0.7, with_noise: bool = False) -> Path:
    """Zero the rest of a packet where it lies in a copy of the file, or fill it with noise."""
    content = read_packets(whole)[packet]
    data = bytearray(whole.read_bytes())
    first = data.index(content)
    start = first + int(len(content) * keep)
    n = first + len(content) - start
    data[start : start + n] = np.random.default_rng(0).bytes(n) if with_noise else bytes(n)
    damaged = whole.with_name(f"damaged{whole.suffix}")
    damaged.write_bytes(data)
    return damaged


def read_rgb(path: Path) -> list[Images]:
    with VideoReader(path, frame_threads=False) as reader:
        return [to_rgb(frame) for frame in reader.read()]


def mark(path: Path, wanted: range) -> dict[int, Frame]:
    with VideoReader(path, frame_threads=False) as reader:
        items = mark_frames(reader.read(), read_twins(path, wanted), wanted)
        return {frame.index: frame for frame in items}


# Where the decoder made something up.


@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_was_not_made_up_is_what_was_stored(tmp_path: Path, encoder: str) -> None:
    whole = write_moving(tmp_path, encoder)
    damaged = spoil(whole)
    true = read_rgb(whole)
    frames = mark(damaged, range(N))
    with VideoReader(damaged) as reader:
        assert reader.info.codec in CONCEALING
    for index in range(HIT, 2 * GOP):
        concealed, frame = frames[index].concealed, to_rgb(frames[index])
        assert concealed is not None
        is_off = (frame != true[index]).any(-1)
        assert 0.05 < concealed.mean() < 0.95
        assert is_off[concealed].mean() > 0.5
        assert is_off[~concealed].mean() < 0.02
    # Before it, and from the next key frame on, nothing.
    for index in (*range(HIT), *range(2 * GOP, N)):
        concealed = frames[index].concealed
        assert concealed is not None
        assert not concealed.any()


def test_only_wanted_frames_are_marked(tmp_path: Path) -> None:
    frames = mark(spoil(write_moving(tmp_path, "libx264")), range(15, 17))
    assert [i for i, frame in frames.items() if frame.concealed is not None] == [15, 16]


def test_frames_without_a_twin_pass_as_they_are(tmp_path: Path) -> None:
    path = write_moving(tmp_path, "libx264")
    with VideoReader(path, frame_threads=False) as reader:
        frames = list(reader.read())
    images = [to_rgb(frame) for frame in frames]
    twins = [
        Twin(frames[0].time, images[0], way="unconcealed"),
        Twin(frames[1].time + Fraction(1, 1000), images[1], way="unconcealed"),  # at another time
        Twin(frames[3].time, images[3][:-2], way="unconcealed"),  # of another size
        Twin(frames[4].time, images[4], way="predicted"),
    ]
    sound = object()
    passed = list(mark_frames([sound, *frames], iter(twins), range(N)))
    assert passed[0] is sound
    marked = [frame.index for frame in passed[1:] if frame.concealed is not None]
    assert marked == [0]
    assert [f.index for f in passed[1:] if f.prediction is not None] == [4]


# What is kept.


def make_picture(height: int = 96, width: int = 120, dtype: type = np.uint8) -> Images:
    picture = make_frames(1, width=width, height=height)[0]
    return picture if dtype == np.uint8 else picture.astype(np.uint16) * 257


@pytest.mark.parametrize("size", [(96, 120), (301, 419), (720, 1280), (40, 31), (7, 5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_was_made_up_is_replaced(size: tuple[int, int], dtype: type) -> None:
    made = make_picture(*size, dtype=dtype)
    concealed = np.zeros(size, bool)
    concealed[: size[0] // 2, : size[1] // 3] = True
    damaged = made.copy()
    damaged[concealed] = 0
    mended, kept = salvage_picture(damaged, made, concealed, [made])
    assert mended.dtype == dtype
    np.testing.assert_array_equal(mended, made)
    assert kept < 1 - concealed.mean() + 0.01


def test_what_was_decoded_is_kept() -> None:
    true = make_picture(144, 176)
    made = np.clip(true.astype(int) + 6, 0, 255).astype(np.uint8)  # off, but not far
    concealed = np.zeros(true.shape[:2], bool)
    concealed[:40, :40] = True
    damaged = true.copy()
    damaged[concealed] = 99
    mended, kept = salvage_picture(damaged, made, concealed, [made])
    np.testing.assert_array_equal(mended[80:], true[80:])
    np.testing.assert_array_equal(mended[:, 80:], true[:, 80:])
    np.testing.assert_array_equal(mended[:40, :40], made[:40, :40])
    assert 0.7 < kept < 1 - concealed.mean()


def test_a_frame_with_nothing_wrong_is_given_back() -> None:
    true = make_picture()
    mended, kept = salvage_picture(true, true // 2 + true // 2, np.zeros((96, 120), bool), [true])
    assert mended is true
    assert kept == 1


def test_rubbish_before_the_error_was_noticed_is_replaced() -> None:
    made = make_picture(144, 176)
    damaged = made.copy()
    damaged[64:96, 64:104] = np.random.default_rng(1).integers(0, 256, (32, 40, 3))
    concealed = np.zeros(made.shape[:2], bool)
    concealed[96:112] = True
    mended, kept = salvage_picture(damaged, made, concealed, [made])
    np.testing.assert_array_equal(mended, made)
    assert 0.3 < kept < 0.8


def test_how_far_is_rubbish_goes_by_how_good_the_made_frame_is() -> None:
    true = make_picture(144, 176)
    made = true.copy()
    made[60:80, 60:80] = np.clip(made[60:80, 60:80].astype(int) + 40, 0, 255)
    nothing = np.zeros(true.shape[:2], bool)
    shares = [
        salvage_picture(true, made, nothing, [made], expected=expected)[1]
        for expected in (None, 40.0, 20.0)
    ]
    assert shares[0] == shares[1] < 0.98
    assert shares[2] == 1
    # What is off everywhere by itself shows that the made frame is at fault.
    made = np.clip(true.astype(int) + 25, 0, 255).astype(np.uint8)
    assert salvage_picture(true, made, nothing, [made])[1] == 1


@pytest.mark.parametrize(("side", "top", "is_kept"), [(8, 0, True), (8, 92, False), (40, 0, False)])
def test_a_small_patch_far_from_all_that_was_made_up_is_kept(
    side: int, top: int, is_kept: bool
) -> None:
    """Something small and fast, that was not made well; rubbish is larger, or near the error."""
    made = make_picture(160, 192)
    damaged = made.copy()
    made[112 : 112 + side, 90 : 90 + side] = 100
    damaged[112 : 112 + side, 90 : 90 + side] = 160
    concealed = np.zeros(made.shape[:2], bool)
    concealed[top : top + 8] = True
    mended, _ = salvage_picture(damaged, made, concealed, [made])
    np.testing.assert_array_equal(mended[100:], (damaged if is_kept else made)[100:])


def test_a_guess_is_kept_where_the_made_frame_is_hopeless() -> None:
    rng = np.random.default_rng(2)
    true = make_picture(144, 176)
    made = rng.integers(0, 256, true.shape).astype(np.uint8)
    concealed = np.zeros(true.shape[:2], bool)
    concealed[40:60, 40:60] = True
    assert salvage_picture(true, made, concealed, [made])[1] > 0.95
    damaged = true.copy()
    damaged[40:60, 40:60] = 255 - true[40:60, 40:60] // 2  # farther than anything around
    mended, kept = salvage_picture(damaged, true, concealed, [true])
    np.testing.assert_array_equal(mended, true)
    assert kept < 1


def test_pictures_of_several_sizes_are_refused() -> None:
    made = make_picture()
    concealed = np.zeros(made.shape[:2], bool)
    with pytest.raises(ValueError, match="one shape"):
        salvage_picture(made[:-1], made, concealed, [made])
    with pytest.raises(ValueError, match="beside"):
        salvage_picture(made, made, concealed, [])
    with pytest.raises(ValueError, match="one shape"):
        keep_plausible(made, made[:-1], [made], expected=30.0)
    with pytest.raises(ValueError, match="one shape"):
        choose_nearer(made, made[:-1], made)


@pytest.mark.parametrize("size", [(96, 128), (541, 723)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_of_two_pictures_the_nearer_one_is_taken_by_place(
    size: tuple[int, int], dtype: type
) -> None:
    rng = np.random.default_rng(0)
    scale = np.iinfo(dtype).max / 255
    true = np.broadcast_to(np.linspace(40, 200, size[1])[:, None], (*size, 3))

    def add(noise: NDArray[np.float64]) -> NDArray[np.unsignedinteger]:
        return np.rint((true + noise).clip(0, 255) * scale).astype(dtype)

    def score(picture: NDArray[np.unsignedinteger]) -> float:
        return psnr(add(np.zeros(true.shape)), picture)

    noise = rng.normal(0, 25, (*size, 3))
    is_left = (np.arange(size[1]) < size[1] // 2)[:, None]
    damaged, predicted = add(noise * is_left), add(noise * ~is_left)
    made = add(rng.normal(0, 10, (*size, 3)))  # worse than either where that is right
    nearer = choose_nearer(damaged, predicted, made)
    assert nearer.dtype == dtype
    assert min(score(damaged), score(predicted)) < score(made) < score(nearer) - 3
    assert np.array_equal(choose_nearer(made, damaged, made), made)


@pytest.mark.parametrize("size", [(96, 128), (541, 723)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_plausible_is_kept(size: tuple[int, int], dtype: type) -> None:
    made = make_picture(*size, dtype=dtype)
    levels = np.iinfo(dtype).max / 255
    damaged = made.astype(float) + 12 * levels * np.where(made > 128 * levels, -1, 1)  # 26.5 dB
    rubbish = np.s_[: size[0] // 3, : size[1] // 3]
    damaged[rubbish] = np.where(made[rubbish] > 128 * levels, 0, 255 * levels)
    damaged = np.rint(damaged).astype(dtype)
    mended, kept = keep_plausible(damaged, made, [made], expected=26.0)
    assert 0.7 < kept < 0.95
    assert np.array_equal(mended[rubbish], made[rubbish])
    rest = np.s_[size[0] * 2 // 3 :]
    assert np.array_equal(mended[rest], damaged[rest])
    # So good a picture is not to be so far off anywhere.
    mended, kept = keep_plausible(damaged, made, [made], expected=40.0)
    assert kept == 0
    assert np.array_equal(mended, made)
    assert keep_plausible(made, made, [made], expected=99.0)[1] == 1


# Which frames.


@pytest.mark.parametrize(
    ("shown", "damaged", "baseless", "expected"),
    [
        ("KPPPKPPP", range(1, 4), [], {1, 2, 3}),
        ("KPPPKPPP", range(1, 4), [3], set()),  # predicted from a lost one
        ("KP.PKPPP", range(3, 4), [], set()),  # likely predicted from the lost one
        ("KP.PKPPP", range(5, 8), [], {5, 6, 7}),  # in another group
        ("PPPPKPPP", range(1, 3), [], {1, 2}),
        ("KKKKKKKK", range(2, 4), [], {2, 3}),
    ],
)
def test_damage_is_mended_in_whole_groups_only(
    shown: str, damaged: range, baseless: list[int], expected: set[int]
) -> None:
    slots = [Slot(Fraction(i), None if kind == "." else i) for i, kind in enumerate(shown)]
    gaps = [Gap(damaged.start, damaged.start + 1, "corrupt")]
    gaps.append(Gap(damaged.start + 1, damaged.stop, "smeared"))
    keys = [i for i, kind in enumerate(shown) if kind == "K"]
    found = find_mendable(slots, [*gaps, Gap(0, 1, "frozen")], keys=keys, baseless=baseless)
    assert found == expected


# From end to end.


@pytest.mark.parametrize("encoder", ["libx264", "mpeg4", "mpeg2video", "libx265"])
def test_damaged_frames_are_mended(tmp_path: Path, encoder: str) -> None:
    whole = write_moving(tmp_path, encoder)
    damaged = spoil(whole)
    true, decoded = read_rgb(whole), read_rgb(damaged)
    output = tmp_path / "out.mkv"
    report = fill_gaps(damaged, output, predictor=SlidePredictor(), codec="ffv1")
    made = read_rgb(output)
    (gap,) = report.gaps
    assert gap.start == HIT
    marked = mark(damaged, range(gap.start, gap.stop))
    for slot, frame in enumerate(gap.frames, gap.start):
        assert frame.kept is not None
        assert 0.03 < frame.kept < 1
        assert psnr(true[slot], made[slot]) > psnr(true[slot], decoded[slot]) + 3
        concealed = marked[slot].concealed
        assert concealed is not None
        rows = ~concealed.any(1)
        far = np.convolve(~rows, np.ones(49), "same") == 0  # from all that was made up
        if far.any():  # rounding on the way through RGB
            assert np.abs(made[slot][far].astype(int) - decoded[slot][far]).max() <= 4


def test_the_page_tells_what_was_kept(tmp_path: Path) -> None:
    damaged = spoil(write_moving(tmp_path, "mpeg2video"))
    for mend in (True, False):
        page = tmp_path / f"{mend}.html"
        fill_gaps(damaged, tmp_path / f"{mend}.mkv", predictor=SlidePredictor(), mend=mend,
                  views=Views(report=page))  # fmt: skip
        assert ("Kept, %" in page.read_text()) == mend


def test_mending_gives_the_same_twice(tmp_path: Path) -> None:
    damaged = spoil(write_moving(tmp_path, "libx264"))
    outputs = [tmp_path / f"{i}.mkv" for i in range(2)]
    for output in outputs:
        fill_gaps(damaged, output, predictor=SlidePredictor(), codec="ffv1")
    assert read_planes(outputs[0]) == read_planes(outputs[1])


def test_frames_can_be_replaced_whole(tmp_path: Path) -> None:
    damaged = spoil(write_moving(tmp_path, "libx264"))
    output = tmp_path / "out.mkv"
    report = fill_gaps(damaged, output, predictor=GrayPredictor(), codec="ffv1", mend=False)
    assert [frame.kept for gap in report.gaps for frame in gap.frames] == [None] * 10
    assert all(np.ptp(image) <= 2 for image in read_rgb(output)[HIT : 2 * GOP])


def test_named_frames_are_replaced_whole(tmp_path: Path) -> None:
    damaged = spoil(write_moving(tmp_path, "libx264"))
    report = fill_gaps(damaged, gaps=["14:20"], predictor=SlidePredictor(), codec="ffv1",
                       output=tmp_path / "out.mkv")  # fmt: skip
    kept = [frame.kept is not None for gap in report.gaps for frame in gap.frames]
    assert kept == [False] * 6 + [True] * 4


def test_damage_at_the_end_is_mended_too(tmp_path: Path) -> None:
    damaged = spoil(write_moving(tmp_path, "libx264"), packet=26)
    report = fill_gaps(damaged, tmp_path / "out.mkv", predictor=SlidePredictor(), codec="ffv1")
    (gap,) = report.gaps
    assert (gap.start, gap.stop, gap.action) == (26, N, "forecast")
    assert all(frame.kept is not None for frame in gap.frames)


@pytest.mark.exhaustive
def test_of_vp8_what_was_predicted_is_kept(tmp_path: Path) -> None:
    whole = write_moving(tmp_path, "libvpx")
    damaged = spoil(whole, keep=0.5, with_noise=True)
    assert scan(damaged).mendable == frozenset(range(HIT, 2 * GOP))
    output = tmp_path / "out.mkv"
    report = fill_gaps(damaged, output, predictor=SlidePredictor(), codec="ffv1")
    assert [frame.kept for gap in report.gaps for frame in gap.frames] == [1.0] * (2 * GOP - HIT)
    true, decoded, made = read_rgb(whole), read_rgb(damaged), read_rgb(output)
    marked = mark(damaged, range(N))
    for index in range(N):
        prediction = marked[index].prediction
        assert marked[index].concealed is None
        assert prediction is not None
        if HIT <= index < 2 * GOP:
            both = [psnr(true[index], picture) for picture in (decoded[index], prediction)]
            assert psnr(true[index], made[index]) > max(both) + 0.5
        else:
            assert np.array_equal(prediction, true[index])


def test_of_vp8_whose_modes_are_spoilt_nothing_is_kept(tmp_path: Path) -> None:
    damaged = spoil(write_moving(tmp_path, "libvpx"), keep=0.01)
    marked = mark(damaged, range(N))
    kept = [index for index in range(N) if marked[index].prediction is not None]
    assert kept == [*range(HIT), *range(2 * GOP, N)]


@pytest.mark.parametrize(
    "encoder", [pytest.param("libvpx", marks=pytest.mark.exhaustive), "libvpx-vp9"]
)
def test_where_nothing_tells_what_is_wrong_the_plausible_is_kept(
    tmp_path: Path, encoder: str
) -> None:
    whole = write_moving(tmp_path, encoder, n=N if encoder == "libvpx" else N + 6)
    damaged = spoil(whole, keep=0.01 if encoder == "libvpx" else 0.4, with_noise=True)
    # libvpx stores one picture of VP9 ahead, and shows it within the smear.
    healed = set() if encoder == "libvpx" else {18}
    spoilt = [i for i in range(HIT, 2 * GOP) if i not in healed]
    assert scan(damaged).mendable == {*spoilt}
    true, scores = read_rgb(whole), {}
    for mend in (True, False):
        output = tmp_path / f"{mend}.mkv"
        report = fill_gaps(damaged, output, predictor=BlendPredictor(), codec="ffv1", mend=mend)
        frames = [frame for gap in report.gaps for frame in gap.frames]
        assert len(frames) == len(spoilt)
        assert all((frame.kept is not None) == mend for frame in frames)
        made = read_rgb(output)
        scores[mend] = np.mean([psnr(true[i], made[i]) for i in spoilt])
    assert scores[True] > scores[False] + 0.3


def test_without_an_estimate_nothing_is_plausible(tmp_path: Path) -> None:
    damaged = spoil(write_moving(tmp_path, "libvpx-vp9"), keep=0.4, with_noise=True)
    report = fill_gaps(damaged, tmp_path / "out.mkv", predictor=BlendPredictor(), self_check=False)
    assert {frame.kept for gap in report.gaps for frame in gap.frames} == {None}


def test_of_vp9_a_picture_that_rests_on_nothing_wrong_stays(tmp_path: Path) -> None:
    whole = write_moving(tmp_path, "libvpx-vp9")
    damaged = spoil(whole, keep=0.4, with_noise=True)
    true, marked = read_rgb(whole), mark(damaged, range(N))
    healed = [i for i in range(N) if marked[i].prediction is not None]
    assert healed  # libvpx stores one picture ahead, and shows it within the smear
    assert all(HIT < i < 2 * GOP for i in healed)
    for index in range(HIT, 2 * GOP):
        is_right = np.array_equal(to_rgb(marked[index]), true[index])
        assert is_right == (index in healed)
        assert marked[index].concealed is None
    assert find_healed(damaged, range(HIT, 2 * GOP)) == {*healed}
    found = {i for g in scan(damaged).plan.gaps for i in range(g.gap.start, g.gap.stop)}
    assert found == {*range(HIT, 2 * GOP)} - {*healed}
    output = tmp_path / "out.mkv"
    fill_gaps(damaged, output, predictor=GrayPredictor(), codec="ffv1")
    before, after = dict(read_planes(damaged)), dict(read_planes(output))
    for index in healed:
        assert after[marked[index].time] == before[marked[index].time]


def test_of_vp9_nothing_is_told_where_the_decoder_took_nothing(tmp_path: Path) -> None:
    """What was put in the place of the damage changes nothing then, and equality tells nothing."""
    whole = write_moving(tmp_path, "libvpx-vp9")
    frames = mark(whole, range(0))
    twins = [Twin(frames[i].time, to_rgb(frames[i]), way="altered") for i in range(N)]
    passed = mark_frames(frames.values(), iter(twins), range(N))
    assert all(frame.prediction is None for frame in passed)


@pytest.mark.parametrize("entries", [False, True])
def test_of_h265_only_what_has_entry_points_is_mended(tmp_path: Path, entries: bool) -> None:
    whole = write_moving(tmp_path, "libx265", f"wpp={entries:d}:bframes=0")
    report = scan(spoil(whole))
    assert [gap.gap.start for gap in report.plan.gaps] == ([HIT] if entries else [])
    assert report.mendable == (frozenset(range(HIT, 2 * GOP)) if entries else frozenset())
    # Nor where the damage is known otherwise.
    lossy = spoil(whole, keep=0.0)
    assert [gap.gap.start for gap in scan(lossy).plan.gaps] == [HIT]
    assert scan(lossy).mendable == frozenset()


def test_an_error_while_two_decoders_run_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OutputError("the disk is full")

    damaged = spoil(write_moving(tmp_path, "libx264"))
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr("framepred.video.VideoWriter.write", fail)
    with pytest.raises(OutputError, match="disk is full"):
        fill_gaps(damaged, tmp_path / "out.mkv", predictor=SlidePredictor())
    assert sorted(tmp_path.iterdir()) == before


# Samples that no picture has.


def test_samples_beyond_the_depth_do_not_spoil_what_is_written(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "in.mkv", make_frames(8), codec="ffv1", pix_fmt="yuv422p10le")
    output = tmp_path / "out.mkv"
    with (
        VideoReader(path) as reader,
        VideoWriter(output, like=reader, encoding=Encoding(codec="ffv1")) as writer,
    ):
        for frame in reader.read():
            if frame.index == 0:
                native = av.VideoFrame(64, 48, "yuv422p10le")  # as decoders leave it
                for plane in native.planes:
                    plane.update(b"\x80" * plane.buffer_size)
                given = bytes(native.planes[0])
                limited = limit_samples(native)
                writer.write(dataclasses.replace(frame, native=native))
                assert bytes(native.planes[0]) == given
                assert set(np.frombuffer(limited.planes[0], "<u2")) <= {0, 1023}
            else:
                assert limit_samples(frame.native) is frame.native
                writer.write(frame)
    before, after = read_planes(path), read_planes(output)
    assert after[1:] == before[1:]


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p16le", "rgb24", "gray", "p010le"])
def test_formats_without_room_for_such_samples_are_left_alone(pix_fmt: str) -> None:
    native = av.VideoFrame(16, 16, pix_fmt)
    for plane in native.planes:
        plane.update(b"\xff" * plane.buffer_size)
    assert limit_samples(native) is native
