"""Marks of 360 degree and stereo video in MP4 and MOV, read by ffprobe."""

from __future__ import annotations

import random
import shutil
import struct
from pathlib import Path
from typing import Any

import av
import pytest
from blending import BlendPredictor
from synthetic import read_packets, read_planes, write_clip, write_gappy_clip

from framepred import fill_gaps
from framepred.errors import MediaError
from framepred.mp4_marks import Marks, has_header_first, read_marks, write_marks

_NOTHING = b"\0\0\0\0"  # version and flags
_XML = b"""<?xml version="1.0"?><rdf:SphericalVideo
xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
xmlns:GSpherical="http://ns.google.com/videos/1.0/spherical/">
<GSpherical:Spherical>true</GSpherical:Spherical>
<GSpherical:Stitched>true</GSpherical:Stitched>
<GSpherical:StitchingSoftware>a test</GSpherical:StitchingSoftware>
<GSpherical:ProjectionType>equirectangular</GSpherical:ProjectionType>
<GSpherical:StereoMode>left-right</GSpherical:StereoMode>
</rdf:SphericalVideo>"""


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


STEREO = box(b"st3d", _NOTHING, b"\1")
SPHERE = box(
    b"sv3d",
    box(b"svhd", _NOTHING, b"a test\0"),
    box(
        b"proj",
        box(b"prhd", _NOTHING, struct.pack(">iii", 30 << 16, 0, 0)),
        box(b"equi", _NOTHING, bytes(16)),
    ),
)
FIRST_VERSION = box(b"uuid", bytes.fromhex("ffcc8263f8554a938814587a02521fdd"), _XML)

MARKS = {
    "second version": (
        Marks(STEREO + SPHERE),
        [("Spherical Mapping", "equirectangular"), ("Stereo 3D", "top and bottom")],
    ),
    "first version": (
        Marks(b"", FIRST_VERSION),
        [("Spherical Mapping", "equirectangular"), ("Stereo 3D", "side by side")],
    ),
    "sphere alone": (Marks(SPHERE), [("Spherical Mapping", "equirectangular")]),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(
        tmp_path_factory.mktemp("clip") / "clip.mp4", 14, audio=True, chapters=True, rotation=90
    )


@pytest.fixture
def marked(clip: Path, tmp_path: Path) -> Path:
    path = tmp_path / "marked.mp4"
    shutil.copyfile(clip, path)
    assert write_marks(path, Marks(STEREO + SPHERE))
    return path


def find_marks(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Of the first stream, by kind, without its rotation."""
    listed = found["streams"][0].get("side_data_list", [])
    return [
        (each["side_data_type"], each.get("type") or each["projection"])
        for each in listed
        if each["side_data_type"] != "Display Matrix"
    ]


@pytest.mark.parametrize("name", MARKS)
def test_marks_are_written_and_all_else_stays(
    clip: Path, tmp_path: Path, ffprobe: Any, name: str
) -> None:
    marks, expected = MARKS[name]
    path = tmp_path / "clip.mp4"
    shutil.copyfile(clip, path)
    assert not find_marks(ffprobe(path))
    assert write_marks(path, marks)
    found = ffprobe(path)
    assert sorted(find_marks(found)) == expected
    assert read_packets(path) == read_packets(clip)
    assert read_planes(path) == read_planes(clip)
    assert found["chapters"] == ffprobe(clip)["chapters"]
    assert read_marks(path, 1) == marks
    assert not read_marks(path, 2)  # the sound


@pytest.mark.parametrize(
    ("name", "suffix", "options"),
    [
        ("second version", ".mp4", {}),
        ("second version", ".mp4", {"codec": "copy"}),
        ("second version", ".mov", {"codec": "copy"}),
        ("first version", ".mov", {}),
        ("first version", ".mov", {"codec": "copy"}),
        ("sphere alone", ".mov", {"lossless": True}),
    ],
)
def test_a_repair_keeps_them(
    clip: Path, tmp_path: Path, ffprobe: Any, name: str, suffix: str, options: dict[str, Any]
) -> None:
    marks, expected = MARKS[name]
    source, out = tmp_path / "in.mp4", tmp_path / f"out{suffix}"
    shutil.copyfile(clip, source)
    assert write_marks(source, marks)
    report = fill_gaps(source, out, gaps=["6:7"], **options)
    assert sorted(find_marks(ffprobe(out))) == expected
    assert not [loss for loss in report.streams_left_out if "360" in loss]
    with av.open(str(out)) as container:
        assert len(list(container.decode(video=0))) == 14


def test_what_another_container_lacks_is_named(marked: Path) -> None:
    report = fill_gaps(marked, marked.with_suffix(".mkv"), gaps=["6:7"])
    assert [loss for loss in report.streams_left_out if "360 degree" in loss]


def test_nothing_is_told_where_there_are_none(clip: Path, tmp_path: Path) -> None:
    report = fill_gaps(clip, tmp_path / "out.mkv", gaps=["6:7"])
    assert not [loss for loss in report.streams_left_out if "360" in loss]


def test_a_header_before_the_pictures_stays(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "fast.mp4", 6)
    content = path.read_bytes()
    at = content.index(b"moov") - 4
    ahead = content[:at] + content[at:] + box(b"free", bytes(4))
    path.write_bytes(ahead)
    assert not write_marks(path, Marks(SPHERE))
    assert path.read_bytes() == ahead


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
@pytest.mark.parametrize("codec", [None, "copy"])
def test_a_header_lies_where_it_lay(
    tmp_path: Path, codec: str | None, suffix: str, is_first: bool
) -> None:
    usual = write_gappy_clip(tmp_path / "usual.mp4", 30, [12], audio=True)[0]
    clip = tmp_path / "clip.mp4"
    with av.open(str(usual)) as source:
        flags = {"movflags": "faststart"} if is_first else {}
        with av.open(str(clip), "w", container_options=flags) as target:
            copies = {s.index: target.add_stream_from_template(s) for s in source.streams}
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = copies[packet.stream_index]
                    target.mux(packet)
    assert has_header_first(clip) == is_first
    output = tmp_path / f"out.{suffix}"
    fill_gaps(clip, output, predictor=BlendPredictor(), codec=codec)  # type: ignore[arg-type]
    assert has_header_first(output) == is_first
    assert len(read_planes(output)) == 30


def test_any_damage_is_no_mark_or_a_mark(marked: Path) -> None:
    """Whatever a header says, there is an answer, and only whole boxes are one."""
    content = marked.read_bytes()
    start = content.index(b"moov") - 4
    dice = random.Random(5)
    path = marked.with_name("damaged.mp4")
    n_found = 0
    for _ in range(400):
        spoilt = bytearray(content)
        for _ in range(dice.randrange(1, 6)):
            spoilt[dice.randrange(start, len(spoilt))] = dice.choice(
                (0, 1, 255, dice.randrange(256))
            )
        path.write_bytes(spoilt[: dice.choice((len(spoilt), dice.randrange(start, len(spoilt))))])
        found = read_marks(path, 1)
        n_found += bool(found)
        write_marks(path, Marks(STEREO))
    assert 0 < n_found < 400
    path.write_bytes(b"")
    assert not read_marks(path, 1)


def test_what_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="cannot be read") as caught:
        read_marks(tmp_path / "gone.mp4", 1)
    assert "\n" not in str(caught.value)
