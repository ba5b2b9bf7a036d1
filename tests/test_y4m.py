from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framepred.errors import FramepredError, MediaError, OutputError
from framepred.y4m import PictureFormat, format_header, parse_header, parse_raw


def test_a_header() -> None:
    found = parse_header(
        b"YUV4MPEG2 W640 H360 F30000:1001 It A4:3 C420p10 XYSCSS=420P10 XCOLORRANGE=FULL"
    )
    assert found == PictureFormat(
        640, 360, Fraction(30000, 1001), "yuv420p10le", "420p10", "t", Fraction(4, 3), 2
    )
    assert found.is_interlaced


def test_what_a_header_may_leave_out() -> None:
    found = parse_header(b"YUV4MPEG2 H2 W4 F25:1")
    assert found == PictureFormat(4, 2, Fraction(25), "yuv420p", "420jpeg")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "not y4m"),
        (b"RIFF\x00\xff", "not y4m"),
        (b"YUV4MPEG3 W4 H2 F25:1", "not y4m"),
        (b"YUV4MPEG2 H2 F25:1", "'' by '2' pixels"),
        (b"YUV4MPEG2 W0 H2 F25:1", "'0' by '2' pixels"),
        (b"YUV4MPEG2 W999999 H999999 F25:1", "pixels"),
        (b"YUV4MPEG2 W-4 H2 F25:1", "pixels"),
        (b"YUV4MPEG2 W4 H2", "no frame rate"),
        (b"YUV4MPEG2 W4 H2 F25:0", "no frame rate"),
        (b"YUV4MPEG2 W4 H2 F0:0", "no frame rate"),
        (b"YUV4MPEG2 W4 H2 F25:1 C420p99", "'420p99' are not known"),
        (b"YUV4MPEG2 W4 H2 F25:1 Cmono14", "'mono14' are not known"),
    ],
)
def test_a_bad_header_is_told(line: bytes, words: str) -> None:
    with pytest.raises(MediaError, match="standard input") as caught:
        parse_header(line)
    assert words in str(caught.value).replace("is not y4m", "not y4m")


@settings(max_examples=60)
@given(st.binary(max_size=40))
def test_no_header_does_harm(data: bytes) -> None:
    for line in (data, b"YUV4MPEG2 W4 H2 F25:1 " + data):
        try:
            found = parse_header(line)
        except FramepredError:
            continue
        assert parse_header(format_header(found)[:-1]) == found


@pytest.mark.parametrize(
    ("pix_fmt", "tag"),
    [("yuv420p", "420mpeg2"), ("yuvj420p", "420mpeg2"), ("gray", "mono"), ("gray10le", "mono10")],
)
def test_pictures_without_a_tag_get_one(pix_fmt: str, tag: str) -> None:
    line = format_header(PictureFormat(4, 2, Fraction(25), pix_fmt))
    assert f" C{tag}".encode() in line
    assert (b"XCOLORRANGE=FULL" in line) == (pix_fmt == "yuvj420p")


def test_y4m_holds_no_rgb() -> None:
    with pytest.raises(OutputError, match="cannot hold rgb24"):
        format_header(PictureFormat(4, 2, Fraction(25), "rgb24"))


def test_raw_pictures_are_described_in_words() -> None:
    assert parse_raw("640x360:yuv420p:29.97") == PictureFormat(
        640, 360, Fraction(30000, 1001), "yuv420p"
    )


@pytest.mark.parametrize(
    "text", ["", "640x360", "640x360:yuv420p", "640x360:nv12:25", "0x360:yuv420p:25", "6x3:gray:0"]
)
def test_raw_pictures_that_cannot_be(text: str) -> None:
    with pytest.raises(FramepredError):
        parse_raw(text)
