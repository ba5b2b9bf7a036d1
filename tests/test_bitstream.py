from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from av.container import InputContainer
from hypothesis import given
from hypothesis import strategies as st
from synthetic import write_clip

from framepred import bitstream, parameter_sets
from framepred.bitstream import Codec, Header, parse_header

ENCODERS: dict[Codec, str] = {"h264": "libx264", "hevc": "libx265"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[Codec, Path]:
    """12 frames with B-frames; two groups of pictures, in H.265 an open one."""
    folder = tmp_path_factory.mktemp("bitstream")
    return {
        codec: write_clip(
            folder / f"{codec}.mp4", 12, codec=name, lossless=False, b_frames=2, gop=6
        )
        for codec, name in ENCODERS.items()
    }


def read(path: Path) -> tuple[bytes, list[bytes], list[int]]:
    """Header, packets, and when these are shown."""
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        return (
            stream.codec_context.extradata or b"",
            [bytes(packet) for packet in packets],
            [packet.pts or 0 for packet in packets],
        )


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_header_survives(clips: dict[Codec, Path], codec: Codec) -> None:
    data, packets, _ = read(clips[codec])
    header = parse_header(codec, data)
    assert header.pack() == data
    names = [bitstream.name_set(codec, unit) for unit in header.sets]
    expected = [("sps", 0), ("pps", 0)]
    assert names == (expected if codec == "h264" else [("vps", 0), *expected])
    for packet in packets:
        units = bitstream.split_units(packet, header.length_size)
        assert bitstream.join_units(units, header.length_size) == packet


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_what_a_sequence_parameter_set_says(
    clips: dict[Codec, Path], codec: Codec, ffprobe: Callable[[Path], dict[str, Any]]
) -> None:
    data, _, _ = read(clips[codec])
    (sps,) = [u for u in parse_header(codec, data).sets if bitstream.name_set(codec, u)[0] == "sps"]
    facts = parameter_sets.read_sps(codec, sps)
    stream = ffprobe(clips[codec])["streams"][0]
    assert facts.level == stream["level"]
    assert facts.profile == (100 if codec == "h264" else 1)  # High, Main
    assert facts.chroma == 1
    assert not facts.is_interlaced
    assert 1 <= facts.n_references <= 6
    assert facts.n_kept == facts.n_references  # as these encoders have it


@pytest.mark.parametrize(
    ("options", "pix_fmt", "expected"),
    [
        ({"x264-params": "interlaced=1"}, "yuv420p", (100, 1, True)),
        ({"profile": "baseline"}, "yuv420p", (66, 1, False)),
        ({"x264-params": "cqm=jvt"}, "yuv422p10le", (122, 2, False)),  # with scaling lists
        ({"qp": "0"}, "yuv444p", (244, 3, False)),
    ],
)
def test_kinds_of_h264(
    tmp_path: Path, options: dict[str, str], pix_fmt: str, expected: tuple[int, int, bool]
) -> None:
    path = write_clip(tmp_path / "a.mp4", 4, lossless=False, options=options, pix_fmt=pix_fmt)
    sps = parse_header("h264", read(path)[0]).sets[0]
    facts = parameter_sets.read_sps("h264", sps)
    assert (facts.profile, facts.chroma, facts.is_interlaced) == expected


@pytest.mark.parametrize(
    ("options", "n_kept"),
    [
        ({"x264-params": "ref=5:bframes=0"}, 5),
        ({"x264-params": "dpb-size=7:nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900"}, 7),
        ({"x264-params": "ref=2:bframes=0:sar=255/200:overscan=show:chromaloc=2"}, 2),
        ({"g": "1", "level": "1"}, 16),  # says nothing, so as many as fit: 33 of 12 macroblocks
    ],
)
def test_how_many_pictures_a_decoder_keeps(
    tmp_path: Path, options: dict[str, str], n_kept: int
) -> None:
    tags = {"color_range": 2, "colorspace": 1, "color_primaries": 1, "color_trc": 1}
    path = write_clip(tmp_path / "a.mp4", 4, lossless=False, options=options, gop=12, **tags)
    sps = parse_header("h264", read(path)[0]).sets[0]
    assert parameter_sets.read_sps("h264", sps).n_kept == n_kept


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_pictures(clips: dict[Codec, Path], codec: Codec) -> None:
    data, packets, shown = read(clips[codec])
    header = parse_header(codec, data)
    pictures = [header.describe(bitstream.split_units(p, header.length_size)) for p in packets]
    entries = [i for i, picture in enumerate(pictures) if picture.entry]
    kinds = [pictures[i].entry for i in entries]
    assert kinds == (["idr", "idr"] if codec == "h264" else ["idr", "cra"])
    for i, picture in enumerate(pictures):
        before = max(k for k in entries if k <= i)
        assert picture.is_leading == (shown[i] < shown[before])
        assert not picture.drops_earlier
        assert not picture.has_layers
        assert picture.sets == ()
        # Whatever is shown after all that was decoded before it cannot look ahead.
        if picture.looks_ahead:
            assert any(tick > shown[i] for tick in shown[:i])
    assert any(picture.looks_ahead for picture in pictures)
    assert any(picture.is_leading for picture in pictures) == (codec == "hevc")


def test_more_sets_in_a_header(clips: dict[Codec, Path]) -> None:
    for codec in ENCODERS:
        header = parse_header(codec, read(clips[codec])[0])
        more = parse_header(codec, header.extend(header.sets).pack())
        assert sorted(more.sets) == sorted(header.sets * 2)
        full = header.extend(header.sets * 30)
        with pytest.raises(ValueError, match="room"):
            full.extend(header.sets)


def test_sets_get_other_numbers(clips: dict[Codec, Path]) -> None:
    header = parse_header("hevc", read(clips["hevc"])[0])
    made = [bitstream.renumber(unit, 15) for unit in header.sets]
    assert [bitstream.name_set("hevc", u) for u in made] == [("vps", 15), ("sps", 15), ("pps", 15)]
    for old, new in zip(header.sets, made, strict=True):
        kind, _ = bitstream.name_set("hevc", old)
        assert len(new) >= len(old)
        if kind == "sps":
            assert parameter_sets.read_sps("hevc", new) == parameter_sets.read_sps("hevc", old)
        with pytest.raises(ValueError, match="0 was expected"):
            bitstream.renumber(new, 15)
    with pytest.raises(ValueError, match="no such number"):
        bitstream.renumber(made[0], 14)


def test_pictures_with_other_numbers_decode_alike(clips: dict[Codec, Path], tmp_path: Path) -> None:
    data, packets, _ = read(clips["hevc"])
    header = parse_header("hevc", data)
    units = [*header.sets]
    for packet in packets:
        units += bitstream.split_units(packet, header.length_size)
    found = []
    for number in (0, 15):
        path = tmp_path / f"{number}.265"
        named = [bitstream.renumber(unit, number) if number else unit for unit in units]
        path.write_bytes(b"".join(b"\0\0\0\1" + unit for unit in named))
        assert bitstream.split_stream(path.read_bytes()) == named
        with av.open(str(path)) as container:
            found.append([frame.to_ndarray() for frame in container.decode(video=0)])
    assert len(found[0]) == len(found[1]) == 12
    assert all((a == b).all() for a, b in zip(*found, strict=True))


def test_free_numbers() -> None:
    assert bitstream.find_free_number("h264", [("sps", 0), ("pps", 0)]) == 31
    assert bitstream.find_free_number("h264", [("sps", 0), ("pps", 31)]) == 30
    assert bitstream.find_free_number("h264", [("pps", n) for n in range(40)]) is None
    assert bitstream.find_free_number("hevc", [("sps", 0)]) == 15
    assert bitstream.find_free_number("hevc", [("pps", 15)]) is None


def test_broken_link_changes_nothing_but_the_type(clips: dict[Codec, Path]) -> None:
    data, packets, _ = read(clips["hevc"])
    header = parse_header("hevc", data)
    for packet in packets:
        units = bitstream.split_units(packet, header.length_size)
        broken = bitstream.break_link(units)
        was, is_now = header.describe(units), header.describe(broken)
        assert is_now.entry == ("bla" if was.entry == "cra" else was.entry)
        assert [u[1:] for u in units] == [u[1:] for u in broken]
        assert (units == broken) == (was.entry != "cra")


def test_words_of_the_encoder_are_found(clips: dict[Codec, Path]) -> None:
    _, packets, _ = read(clips["h264"])
    units = bitstream.split_units(packets[0], 4)
    assert [b"x264" in u for u in units] == [bitstream.is_chatter("h264", u) for u in units]
    assert any(bitstream.is_chatter("h264", unit) for unit in units)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_header_that_is_cut_off(clips: dict[Codec, Path], codec: Codec) -> None:
    data, _, _ = read(clips[codec])
    shortest = len(Header.pack(parse_header(codec, data)))
    n_refused = 0
    for n in range(shortest):
        try:
            parse_header(codec, data[:n])
        except ValueError:
            n_refused += 1
    # What comes behind the lists is optional.
    assert n_refused >= shortest - 5
    with pytest.raises(ValueError, match="form"):
        parse_header(codec, b"\0\0\0\1" + data)


@given(st.sampled_from(["h264", "hevc"]), st.binary(max_size=80))
def test_hostile_bytes_raise_nothing_else(codec: Codec, data: bytes) -> None:
    for head in (b"", b"\1\x64\0\x0a\xff\xe1\0", b"\1" + bytes(20) + b"\3\1\x21\0\1\0"):
        try:
            header = parse_header(codec, head + data)
            for unit in header.sets:
                bitstream.name_set(codec, unit)
                parameter_sets.read_sps(codec, unit)
        except ValueError:
            pass
    for skipped in range(len(data)):
        units = [data[skipped:]]
        try:
            Header(codec, 4, b"", (), b"").describe(units)
            bitstream.is_chatter(codec, units[0])
            bitstream.break_link(units)
            bitstream.split_units(data, 1)
        except ValueError:
            pass
