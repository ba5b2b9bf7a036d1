from __future__ import annotations

import io
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest
from blending import BlendPredictor
from synthetic import digest_planes, make_frames, read_planes, write_clip

from framepred import streaming
from framepred.detection import find_cuts
from framepred.errors import GapError, MediaError, OutputError
from framepred.filling import fill_gaps
from framepred.forecasting import forecast
from framepred.interpolation import interpolate
from framepred.observations import Observer
from framepred.pipes import PipeReader, PipeWriter
from framepred.reports import Progress
from framepred.streaming import fill_stream, forecast_stream, interpolate_stream
from framepred.video import Frame, VideoReader, read_thumbnail
from framepred.y4m import PictureFormat, parse_header

N = 90
SHOTS = [*make_frames(50, seed=1), *(255 - frame for frame in make_frames(40, seed=5))]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 frames at 25 a second, with a scene cut at 50."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mkv", SHOTS, codec="ffv1")


@pytest.fixture(scope="module")
def sent(clip: Path) -> bytes:
    stream = io.BytesIO()
    with (
        VideoReader(clip) as reader,
        PipeWriter(stream, PictureFormat(64, 48, Fraction(25), "yuv420p")) as writer,
    ):
        for frame in reader.read():
            writer.write(frame)
    return stream.getvalue()


def read(data: bytes) -> list[tuple[Fraction, bytes]]:
    return [(f.time, digest_planes(f.native)) for f in PipeReader(io.BytesIO(data)).read()]


def read_file(path: Path) -> list[tuple[Fraction, bytes]]:
    with VideoReader(path) as reader:
        return [(frame.time, digest_planes(frame.native)) for frame in reader.read()]


GAPS = ["20:24", "26:27", "46:49", "0:1", "0.4-0.48", "88:90"]


def test_streams_as_programs_give_them(
    sent: bytes, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    header, first = sent.index(b"\n") + 1, sent.index(b"\n") + 1 + len(b"FRAME\n")
    size = sent.index(b"FRAME", first) - first
    pictures = b"".join(
        sent[k + len(b"FRAME\n") :][:size] for k in range(header, len(sent), size + len(b"FRAME\n"))
    )
    shape = parse_header(sent[: header - 1])
    described = f"{shape.width}x{shape.height}:{shape.pix_fmt}:25"
    for raw in (described, PictureFormat(shape.width, shape.height, Fraction(25), shape.pix_fmt)):
        report = fill_stream(
            io.BytesIO(pictures), "-", gaps="5:6", raw=raw, predictor=BlendPredictor()
        )
        assert (report.frames_in, report.frames_replaced) == (N, 1)
        assert len(capfdbinary.readouterr().out) == len(pictures)
    with pytest.raises(TypeError, match="must be a stream of bytes"):
        fill_stream("clip.y4m", io.BytesIO(), gaps="5:6", predictor=BlendPredictor())  # type: ignore[arg-type]


def test_mixed_interlacing_goes_through(sent: bytes) -> None:
    mixed = sent.replace(b" Ip", b" Im", 1)
    assert mixed != sent
    out = io.BytesIO()
    report = forecast_stream(io.BytesIO(mixed), out, n_frames=2, predictor=BlendPredictor())
    assert report.frames_made == 2
    assert out.getvalue().startswith(mixed[: mixed.index(b"\n") + 1])
    fill_stream(io.BytesIO(mixed), out, gaps="5:6", predictor=BlendPredictor())


def test_a_stream_needs_a_context() -> None:
    for call in (fill_stream, interpolate_stream):
        how = {"gaps": ["2"]} if call is fill_stream else {"times": 2}
        with pytest.raises(ValueError, match="context must be at least 1"):
            call(io.BytesIO(), io.BytesIO(), context=0, predictor=BlendPredictor(), **how)  # type: ignore[arg-type, operator]


def test_a_stream_is_filled_as_a_file_is(clip: Path, sent: bytes, tmp_path: Path) -> None:
    out = io.BytesIO()
    streamed = fill_stream(io.BytesIO(sent), out, gaps=GAPS, predictor=BlendPredictor())
    output = tmp_path / "out.mkv"
    report = fill_gaps(
        clip, output, gaps=GAPS, detect=(), predictor=BlendPredictor(), lossless=True
    )
    assert read(out.getvalue()) == read_file(output)
    assert [gap.as_dict() for gap in streamed.gaps] == [gap.as_dict() for gap in report.gaps]
    assert [gap.context_after for gap in streamed.gaps if gap.stop == 49] == [1]  # up to the cut
    for name in ("frames_in", "frames_made", "frames_replaced", "frame_rate"):
        assert getattr(streamed, name) == getattr(report, name)


def test_windows_are_all_that_is_cut_out(
    sent: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is far from a gap goes on before the stream has ended."""
    seen: list[int] = []
    cut_out = streaming._cut_out

    def note(*given: object) -> int:
        seen.append(cut_out(*given))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr(streaming, "_cut_out", note)
    monkeypatch.setattr(streaming, "_NEAR", 4)
    gaps = ["30:31", "85:86"]
    fill_stream(io.BytesIO(sent), io.BytesIO(), gaps=gaps, predictor=BlendPredictor(), context=2)
    assert seen == [19, 14]  # 30 +- 9, and 85 - 9 to the end


def test_the_last_frames_of_a_stream_are_what_a_forecast_sees(
    clip: Path, sent: bytes, tmp_path: Path
) -> None:
    out, output = io.BytesIO(), tmp_path / "out.mkv"
    streamed = forecast_stream(io.BytesIO(sent), out, n_frames=5, predictor=BlendPredictor())
    report = forecast(clip, output, n_frames=5, predictor=BlendPredictor(), lossless=True)
    assert read(out.getvalue()) == read_file(output)
    assert (streamed.time, streamed.context) == (report.time, report.context)
    assert [frame.time for frame in streamed.frames] == [frame.time for frame in report.frames]
    assert len(streamed.frames) == 5
    assert (streamed.frames_in, streamed.frames_made) == (N, 5)
    new = io.BytesIO()
    forecast_stream(io.BytesIO(sent), new, n_frames=5, only_new=True, predictor=BlendPredictor())
    assert [digest for _, digest in read(new.getvalue())] == [
        digest for _, digest in read_file(output)[N:]
    ]


@pytest.mark.parametrize("how", [{"times": 2}, {"rate": 60}])
def test_a_stream_is_interpolated_as_a_file_is(
    clip: Path, sent: bytes, tmp_path: Path, how: dict[str, int]
) -> None:
    out, output = io.BytesIO(), tmp_path / "out.mkv"
    predictor = BlendPredictor()
    streamed = interpolate_stream(io.BytesIO(sent), out, predictor=predictor, **how)  # type: ignore[arg-type]
    report = interpolate(clip, output, predictor=predictor, lossless=True, **how)  # type: ignore[arg-type]
    assert [d for _, d in read(out.getvalue())] == [d for _, d in read_file(output)]
    for name in ("frames_kept", "frames_made", "frames_held", "cuts", "rate_out", "largest_shift"):
        assert getattr(streamed, name) == getattr(report, name), name
    assert streamed.cuts == 1


def test_cuts_are_found_in_passing() -> None:
    frames = [f for k in range(9) for f in make_frames(7 + 5 * k, seed=k)]
    observer = Observer()

    def wrap() -> Iterator[Frame]:
        for i, image in enumerate(frames):
            native = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            yield Frame(native=native, time=Fraction(i, 25), index=i)

    for frame in wrap():
        observer.add(read_thumbnail(frame))
    expected = find_cuts(observer.observations())
    found = [frame.index for frame, is_cut in streaming._mark_cuts(wrap()) if is_cut]
    assert len(expected) > 3
    assert found == expected


def test_a_stream_into_a_file(sent: bytes, clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    report = fill_stream(io.BytesIO(sent), output, gaps=["5:6"], predictor=BlendPredictor())
    assert report.output == output
    with VideoReader(output) as reader:
        assert reader.info.codec == "ffv1"  # what was not lossy yet does not become so unasked
    kept = [pair for i, pair in enumerate(read_planes(output)) if i != 5]
    assert kept == [pair for i, pair in enumerate(read_planes(clip)) if i != 5]
    with pytest.raises(OutputError, match="exists already"):
        fill_stream(io.BytesIO(sent), output, gaps=["5:6"], predictor=BlendPredictor())
    film = tmp_path / "out.mp4"
    interpolate_stream(io.BytesIO(sent), film, rate="59.94", predictor=BlendPredictor())
    with VideoReader(film) as reader:
        assert (reader.info.codec, reader.info.average_rate) == ("h264", Fraction(60000, 1001))


def test_a_stream_that_breaks_off_leaves_no_file(sent: bytes, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    for work in (
        lambda: fill_stream(
            io.BytesIO(sent[:-9]), output, gaps=["5:6"], predictor=BlendPredictor()
        ),
        lambda: forecast_stream(
            io.BytesIO(sent[:-9]), output, n_frames=2, predictor=BlendPredictor()
        ),
        lambda: interpolate_stream(
            io.BytesIO(sent[:-9]), output, times=2, predictor=BlendPredictor()
        ),
    ):
        with pytest.raises(MediaError, match="ended within frame 89"):
            work()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("gaps", "words"),
    [
        ([], "name the gaps"),
        (["5:7", "6:8"], "overlap"),
        (["5:5"], "empty"),
        (["89:91"], "0:90"),
        (["200:201"], "0:90"),
        (["0.01-0.02"], "no frame"),
    ],
)
def test_gaps_that_cannot_be(sent: bytes, gaps: list[str], words: str) -> None:
    with pytest.raises(GapError, match=words):
        fill_stream(io.BytesIO(sent), io.BytesIO(), gaps=gaps, predictor=BlendPredictor())


def test_what_is_wrong_with_a_stream_is_said_of_it(sent: bytes) -> None:
    header, first = sent[: sent.index(b"\n") + 1], sent.index(b"\n") + 1
    size = sent.index(b"FRAME", first + 5) - first
    one = header + sent[first : first + size]
    with pytest.raises(MediaError, match=r"^standard input: has only one frame"):
        forecast_stream(io.BytesIO(one), io.BytesIO(), n_frames=2, predictor=BlendPredictor())


def test_progress_of_a_stream_has_no_end(sent: bytes) -> None:
    seen: list[Progress] = []
    fill_stream(
        io.BytesIO(sent),
        io.BytesIO(),
        gaps=["5:6"],
        predictor=BlendPredictor(),
        on_progress=seen.append,
    )
    assert seen[-1] == Progress("fill", N, None)
    assert [progress.done for progress in seen] == list(range(1, N + 1))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's own figures")
def test_memory_does_not_grow_with_a_stream() -> None:
    """Resident memory at the end of a long stream is that of a short one."""

    def measure(n: int) -> int:
        frame = b"FRAME\n" + os.urandom(160 * 120 * 3 // 2)

        class Endless(io.RawIOBase):
            left = n
            rest = b"YUV4MPEG2 W160 H120 F25:1 C420\n"

            def readable(self) -> bool:
                return True

            def readinto(self, target: object) -> int:
                if not self.rest and self.left:
                    self.left -= 1
                    self.rest = frame
                view = memoryview(target)  # type: ignore[arg-type]
                taken = self.rest[: len(view)]
                view[: len(taken)] = taken
                self.rest = self.rest[len(taken) :]
                return len(taken)

        class Sink(io.RawIOBase):
            def write(self, data: object) -> int:  # type: ignore[override]
                return len(data)  # type: ignore[arg-type]

        fill_stream(
            io.BufferedReader(Endless()),
            Sink(),  # type: ignore[arg-type]
            gaps=["10:14", f"{n - 20}:{n - 18}"],
            predictor=BlendPredictor(),
        )
        with open("/proc/self/status") as status:
            (line,) = [line for line in status if line.startswith("VmRSS")]
        return int(line.split()[1])

    measure(200)
    before = measure(400)
    assert measure(4000) < before + 20_000  # kB: 3600 frames more would be 104,000
