"""Where chroma samples lie: what is read is what FFmpeg reads, and what is written is what was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from blending import BlendPredictor
from hypothesis import given
from hypothesis import strategies as st
from synthetic import make_frames, write_clip

from framepred.bitstream import Codec, name_set, read_extradata
from framepred.chroma_location import find_chroma_location, name_usual_location
from framepred.errors import MediaError
from framepred.filling import fill_gaps
from framepred.parameter_sets import read_chroma_location
from framepred.video import probe

Ffprobe = Callable[[Path], dict[str, Any]]
EXHAUSTIVE = [pytest.mark.slow, pytest.mark.exhaustive]
PLACES = ("left", "center", "topleft", "top", "bottomleft", "bottom")


def tell(ffprobe: Ffprobe, path: Path) -> str | None:
    """What FFmpeg says of it."""
    (stream,) = [s for s in ffprobe(path)["streams"] if s["codec_type"] == "video"]
    location: str | None = stream.get("chroma_location")
    return location


def write(path: Path, location: str | None, n_frames: int = 8, **wishes: Any) -> Path:
    options = {} if location is None else {"chroma_sample_location": location}
    options |= wishes.pop("options", {})
    frames = make_frames(n_frames, width=64, height=48)
    return write_clip(path, frames, lossless=False, options=options, **wishes)


def fill(source: Path, target: Path, **wishes: Any) -> Path:
    fill_gaps(source, target, gaps="3:4", predictor=BlendPredictor(), self_check=False, **wishes)
    return target


@pytest.mark.parametrize(
    "location",
    [None, "topleft", "center", *(pytest.param(place, marks=EXHAUSTIVE) for place in PLACES[3:])],
)
@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mp4"), ("libx265", "ts")])
def test_h264_and_h265_keep_it(
    tmp_path: Path, ffprobe: Ffprobe, codec: str, suffix: str, location: str | None
) -> None:
    source = write(tmp_path / f"in.{suffix}", location, codec=codec)
    assert probe(source).chroma_location == tell(ffprobe, source) == (location or "left")
    target = fill(source, tmp_path / f"out.{suffix}")
    assert probe(target).chroma_location == tell(ffprobe, target) == (location or "left")


@pytest.mark.parametrize("location", ["left", "topleft"])
def test_av1_keeps_it(tmp_path: Path, ffprobe: Ffprobe, location: str | None) -> None:
    source = write(tmp_path / "in.mp4", location, codec="libsvtav1")
    assert probe(source).chroma_location == (location or "left")
    target = fill(source, tmp_path / "out.mp4")
    assert tell(ffprobe, target) == ("topleft" if location == "topleft" else None)


@pytest.mark.parametrize(
    ("codec", "suffix", "wishes", "expected"),
    [
        ("mpeg1video", "mpg", {"codec": "libx264"}, "center"),  # it lies elsewhere in MPEG-1
        ("mpeg2video", "mpg", {"codec": "libx264"}, "left"),
        ("libx264", "mp4", {"codec": "ffv1"}, "topleft"),  # which Matroska keeps
        ("libx264", "mp4", {"codec": "libvpx-vp9"}, "topleft"),
        ("libx264", "mp4", {"lossless": True}, "topleft"),
        ("ffv1", "mkv", {}, "topleft"),
        ("ffv1", "mkv", {"codec": "libx264"}, "topleft"),
        ("libvpx-vp9", "mkv", {}, "topleft"),
    ],
)
def test_another_codec_is_told(
    tmp_path: Path,
    ffprobe: Ffprobe,
    codec: str,
    suffix: str,
    wishes: dict[str, Any],
    expected: str,
) -> None:
    location = None if codec.startswith("mpeg") else "topleft"
    source = write(tmp_path / f"in.{suffix}", location, codec=codec)
    assert tell(ffprobe, fill(source, tmp_path / "out.mkv", **wishes)) == expected


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_pictures_that_go_among_copied_ones_have_the_same(tmp_path: Path, codec: str) -> None:
    source = write(tmp_path / "in.mp4", "topleft", 24, codec=codec, gop=6)
    target = fill(source, tmp_path / "out.mp4", codec="copy")
    name: Codec = "h264" if codec == "libx264" else "hevc"
    with av.open(str(target)) as container:
        data = container.streams.video[0].codec_context.extradata or b""
    sets = [u for u in read_extradata(name, data)[1] if name_set(name, u)[0] == "sps"]
    assert len(sets) == 2
    assert [read_chroma_location(name, unit) for unit in sets] == [2, 2]


@pytest.mark.parametrize(
    "parameters",
    [
        "scaling-list=default",
        "ref=6:bframes=8:b-pyramid=1",
        "bframes=0:ref=1:temporal-layers=1",
        "open-gop=0:keyint=1",
        "no-sao=1:no-amp=1:max-tu-size=8:ctu=16:tu-inter-depth=3",
        "videoformat=ntsc:range=full:colorprim=bt709:overscan=show",
        "vui-timing-info=1:hrd=1:vbv-maxrate=900:vbv-bufsize=900",
    ],
)
def test_many_kinds_of_h265_headers(tmp_path: Path, ffprobe: Ffprobe, parameters: str) -> None:
    options = {"x265-params": f"log-level=none:{parameters}"}
    source = write(tmp_path / "in.mp4", "bottomleft", codec="libx265", options=options, b_frames=3)
    assert probe(source).chroma_location == tell(ffprobe, source) == "bottomleft"


@pytest.mark.parametrize(
    "parameters",
    [
        "cqm=jvt",
        "interlaced=1:sar=40/33",
        "nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900",
        "overscan=crop:videoformat=pal:fullrange=on:colorprim=bt709:transfer=bt709",
    ],
)
def test_many_kinds_of_h264_headers(tmp_path: Path, ffprobe: Ffprobe, parameters: str) -> None:
    options = {"x264-params": parameters}
    source = write(tmp_path / "in.mkv", "bottom", options=options, b_frames=2)
    assert probe(source).chroma_location == tell(ffprobe, source) == "bottom"


@pytest.mark.parametrize(
    ("tag", "location"), [("420jpeg", "center"), ("420mpeg2", "left"), ("420paldv", "topleft")]
)
def test_y4m_tells_it_by_its_tag(tmp_path: Path, ffprobe: Ffprobe, tag: str, location: str) -> None:
    source = tmp_path / "in.y4m"
    plane = bytes(range(256)) * 12
    header = f"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C{tag}\n".encode()
    source.write_bytes(header + 8 * (b"FRAME\n" + plane + bytes([128]) * 1536))
    assert probe(source).chroma_location == tell(ffprobe, source) == location
    assert tell(ffprobe, fill(source, tmp_path / "out.mp4", codec="libx264")) == location


@pytest.mark.parametrize(
    ("location", "name", "codec"),
    [("topleft", "out.mp4", "mpeg4"), ("top", "out.mp4", "libsvtav1"), ("top", "-", None)],
)
def test_what_cannot_say_it_is_named(
    tmp_path: Path, capfdbinary: Any, location: str, name: str, codec: str | None
) -> None:
    source = write(tmp_path / "in.mp4", location)
    output = name if name == "-" else tmp_path / name
    report = fill_gaps(
        source, output, gaps="3:4", predictor=BlendPredictor(), self_check=False, codec=codec
    )
    (left_out,) = report.streams_left_out
    assert f"where chroma lies ({location})" in left_out


def test_other_chroma_has_no_place(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv", None, pix_fmt="yuv444p")
    assert probe(source).chroma_location is None


@pytest.mark.parametrize(
    "names",
    [
        ["bipbop.mp4", "edit_discard20.mov", "regular.hevc", "regular.mkv", "chain.ogv",
         "sd-hls0000000000.ts", "BA_MW_D_P_LOST.264", "h265_10bits.mp4", "av1_video.mkv"],
        pytest.param(None, marks=EXHAUSTIVE),
    ],
    ids=["some", "all"],
)  # fmt: skip
def test_real_files_as_ffmpeg_reads_them(
    awkward: Path, ffprobe: Ffprobe, names: list[str] | None
) -> None:
    n_told = 0
    for path in sorted(awkward.iterdir()):
        if names is not None and path.name not in names:
            continue
        try:
            info = probe(path)
        except MediaError:
            continue
        if info.chroma_location is None:
            continue
        streams = [s for s in ffprobe(path)["streams"] if s["codec_type"] == "video"]
        told = streams[0].get("chroma_location", "unspecified")
        if told == "unspecified":
            assert info.chroma_location == name_usual_location(info.codec), path.name
        else:
            n_told += 1
            assert info.chroma_location == told, path.name
    assert n_told >= (20 if names is None else 7)


@given(data=st.binary(max_size=80), codec=st.sampled_from(["h264", "hevc", "av1"]))
def test_spoilt_headers_say_nothing(data: bytes, codec: str) -> None:
    heads = {"h264": b"\0\0\1\x67", "hevc": b"\0\0\1\x42\1", "av1": b"\x81"}
    for extradata in (data, heads[codec] + data):
        assert find_chroma_location(codec, extradata) in PLACES
