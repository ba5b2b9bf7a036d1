from __future__ import annotations

import errno
import io
import shutil
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from synthetic import digest_planes, make_frames, read_planes, write_clip

from framepred.errors import MediaError, OutputError
from framepred.pipes import PipeReader, PipeWriter, choose_pictures, list_losses
from framepred.video import Frame, probe
from framepred.y4m import PictureFormat, parse_raw

FORMATS = [
    "yuv420p", "yuv422p", "yuv444p", "yuv411p", "gray", "yuva444p", "yuv420p10le", "yuv422p12le",
    "gray10le",
]  # fmt: skip


def make_natives(n: int, pix_fmt: str, width: int = 36, height: int = 26) -> list[Frame]:
    """Noise in every plane, so that no sample can be lost or moved unseen."""
    rng = np.random.default_rng(1)
    frames = []
    for i in range(n):
        native = av.VideoFrame(width, height, pix_fmt)
        for plane in native.planes:
            plane.update(rng.integers(0, 256, plane.buffer_size, dtype=np.uint8).tobytes())
        frames.append(Frame(native=native, time=Fraction(i, 25), index=i))
    return frames


def send(frames: list[Frame], *, raw: bool = False) -> bytes:
    native = frames[0].native
    pictures = PictureFormat(native.width, native.height, Fraction(25), native.format.name)
    stream = io.BytesIO()
    with PipeWriter(stream, pictures, raw=raw) as writer:
        for frame in frames:
            writer.write(frame)
    return stream.getvalue()


@pytest.mark.parametrize("size", [(36, 26), (35, 25), (1, 1), (130, 3)])
@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_there_and_back(pix_fmt: str, size: tuple[int, int]) -> None:
    frames = make_natives(3, pix_fmt, *size)
    found = list(PipeReader(io.BytesIO(send(frames))).read())
    assert [frame.time for frame in found] == [frame.time for frame in frames]
    assert [digest_planes(a.native) for a in found] == [digest_planes(b.native) for b in frames]
    raw = send(frames, raw=True)
    described = PictureFormat(*size, Fraction(25), pix_fmt)
    again = list(PipeReader(io.BytesIO(raw), raw=described).read())
    assert [digest_planes(a.native) for a in again] == [digest_planes(b.native) for b in frames]


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_ffmpeg_reads_what_is_sent(pix_fmt: str) -> None:
    """The oracle is FFmpeg's own demuxer, in PyAV."""
    frames = make_natives(3, pix_fmt, 35, 25)
    with av.open(io.BytesIO(send(frames)), format="yuv4mpegpipe") as container:
        found = list(container.decode(video=0))
        assert container.streams.video[0].average_rate == 25
    assert [frame.format.name for frame in found] == [pix_fmt] * 3
    assert [digest_planes(a) for a in found] == [digest_planes(b.native) for b in frames]


def test_what_ffmpeg_sends_is_read(tmp_path: Path) -> None:
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("ffmpeg is not installed")
    clip = write_clip(tmp_path / "clip.mkv", make_frames(4), rate=30, codec="ffv1")
    sent = subprocess.run(
        [program, "-v", "error", "-i", str(clip), "-f", "yuv4mpegpipe", "-"],
        check=True,
        capture_output=True,
    ).stdout
    reader = PipeReader(io.BytesIO(sent))
    found = [digest_planes(frame.native) for frame in reader.read()]
    with av.open(str(clip)) as container:
        assert found == [digest_planes(frame) for frame in container.decode(video=0)]
    assert reader.pictures.rate == 30


def test_parameters_of_a_frame_are_passed_over() -> None:
    sent = send(make_natives(2, "gray", 4, 2)).replace(b"FRAME\n", b"FRAME Ixyz XCOMMENT=1\n")
    assert len(list(PipeReader(io.BytesIO(sent)).read())) == 2


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        (lambda sent: b"", "is empty"),
        (lambda sent: sent[:20], "no y4m header"),
        (lambda sent: b"x" * 10_000, "no y4m header"),
        (lambda sent: sent[: sent.index(b"FRAME")], "without a frame"),
        (lambda sent: sent[:-1], "ended within frame 1"),
        (lambda sent: sent + b"FRA", "frame 2 should begin"),
        (lambda sent: sent + b"JUNK\n", "frame 2 should begin"),
    ],
)
def test_a_stream_that_ends_early_or_is_none(cut: object, words: str) -> None:
    sent = cut(send(make_natives(2, "gray", 4, 2)))  # type: ignore[operator]
    with pytest.raises(MediaError, match="standard input") as caught:
        list(PipeReader(io.BytesIO(sent)).read())
    assert words in str(caught.value)


def test_raw_pictures_end_only_between_pictures() -> None:
    raw = send(make_natives(2, "gray", 4, 2), raw=True)
    assert len(raw) == 16
    with pytest.raises(MediaError, match="within frame 1"):
        list(PipeReader(io.BytesIO(raw[:-1]), raw=parse_raw("4x2:gray:25")).read())


class Closed(io.BytesIO):
    """A pipe that nobody reads, or a full disk."""

    def __init__(self, error: OSError, after: int) -> None:
        super().__init__()
        self.error, self.after = error, after

    def write(self, data: object) -> int:  # type: ignore[override]
        self.after -= 1
        if self.after < 0:
            raise self.error
        return super().write(bytes(data)[:7])  # type: ignore[call-overload]  # a bit at a time


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "closed by the program that reads it"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left"),
    ],
)
def test_nobody_reads(error: OSError, words: str) -> None:
    frame, other = make_natives(2, "gray", 4, 2)
    pictures = PictureFormat(4, 2, Fraction(25), "gray")
    writer = PipeWriter(Closed(error, 7), pictures)
    writer.write(frame)  # which is sent when the next one has come
    with pytest.raises(OutputError, match=words):
        writer.write(other)


def test_where_there_is_no_frame_the_last_one_is_repeated() -> None:
    frames = make_natives(5, "gray", 4, 2)
    stream = io.BytesIO()
    with PipeWriter(stream, PictureFormat(4, 2, Fraction(25), "gray")) as writer:
        for frame in (frames[0], frames[1], frames[4]):
            writer.write(frame)
    found = [digest_planes(f.native) for f in PipeReader(io.BytesIO(stream.getvalue())).read()]
    true = [digest_planes(frame.native) for frame in frames]
    assert found == [true[0], true[1], true[1], true[1], true[4]]
    assert writer.n_repeated == 2
    assert "2 frames repeated" in writer.left_out[0]


def test_a_pipe_has_one_size_and_one_rate(tmp_path: Path) -> None:
    small, large = make_natives(1, "gray", 4, 2), make_natives(1, "gray", 8, 2)
    writer = PipeWriter(io.BytesIO(), PictureFormat(4, 2, Fraction(25), "gray"))
    writer.write(small[0])
    with pytest.raises(MediaError, match="changes its size"):
        writer.write(large[0])
    info = probe(write_clip(tmp_path / "clip.mkv", 3, codec="ffv1"))
    with pytest.raises(OutputError, match="one frame rate"):
        choose_pictures(info, None)
    assert choose_pictures(info, Fraction(25)).pix_fmt == "yuv420p"
    with (
        pytest.raises(OutputError, match="no frame"),
        PipeWriter(io.BytesIO(), PictureFormat(4, 2, Fraction(25), "gray")),
    ):
        pass


def test_planes_of_a_file_go_through(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.y4m", 3, codec="wrapped_avframe")
    with clip.open("rb") as file:
        digests = [digest_planes(frame.native) for frame in PipeReader(file).read()]
    assert len(digests) == len(read_planes(clip)) == 3


def test_what_of_a_video_no_pipe_holds_is_named(tmp_path: Path) -> None:
    turned = write_clip(tmp_path / "turned.mp4", 3, rotation=90)
    assert [loss.partition(" (")[0] for loss in list_losses(probe(turned))] == ["rotation"]
    assert list_losses(probe(write_clip(tmp_path / "plain.mp4", 3))) == ()
    writer = PipeWriter(io.BytesIO(), choose_pictures(probe(turned), Fraction(25)), losses=("it",))
    assert writer.left_out == ("it",)


@pytest.mark.parametrize(("mark", "is_top_first"), [("t", True), ("b", False)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "gray", "yuv422p10le"])
@pytest.mark.usefixtures("ffprobe")
def test_pictures_of_two_fields_say_so_themselves(
    tmp_path: Path, pix_fmt: str, mark: str, is_top_first: bool
) -> None:
    (frame,) = make_natives(1, pix_fmt)
    pictures = PictureFormat(36, 26, Fraction(25), pix_fmt, interlacing=mark)
    stream = io.BytesIO()
    with PipeWriter(stream, pictures) as writer:
        writer.write(frame)
    (found,) = PipeReader(io.BytesIO(stream.getvalue())).read()
    assert digest_planes(found.native) == digest_planes(frame.native)
    # PyAV tells of a frame only whether it is interlaced: FFmpeg tells which field is the first.
    path = tmp_path / "one.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 36, 26, pix_fmt
        container.mux([*video.encode(found.native), *video.encode()])
    said = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "frame=interlaced_frame,top_field_first",
         "-of", "csv=p=0", str(path)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert said.strip().rstrip(",") == f"1,{int(is_top_first)}"


def test_a_late_frame_leaves_no_hole_if_the_next_is_in_time() -> None:
    frames = make_natives(6, "gray")
    late = [*frames[:3], replace(frames[3], time=Fraction(36, 250)), *frames[4:]]
    assert send(late) == send(frames)
    # Two that are late make one hole, and the last of all may be late.
    gone = [*frames[:3], *(replace(f, time=f.time + Fraction(3, 125)) for f in frames[3:5])]
    assert send(gone).count(b"FRAME") == 6


def test_a_pause_of_days_is_no_work_for_a_pipe() -> None:
    frames = make_natives(3, "gray")
    frames[2] = replace(frames[2], time=Fraction(30 * 86400))
    stream = io.BytesIO()
    writer = PipeWriter(stream, PictureFormat(36, 26, Fraction(25), "gray"))
    for frame in frames:
        writer.write(frame)
    with pytest.raises(OutputError, match="frames repeated, which is no video's work"):
        writer.__exit__(None, None, None)
    assert stream.getvalue().count(b"FRAME") == 2
