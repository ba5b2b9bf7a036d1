"""Where VP9's tiles are: against FFmpeg's decoder, which refuses those whose first bit is set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import pytest
from av.error import FFmpegError
from hypothesis import given
from hypothesis import strategies as st
from synthetic import write_clip
from test_continuity import read_stream
from test_scanning import pan

from framepred.vp9_headers import find_tiles, read_pixels, split_packet, spoil_tiles

N = 12
FAST = {"deadline": "realtime", "cpu-used": "8", "b": "300k"}
OPTIONS: list[tuple[int, str, dict[str, str]]] = [
    (160, "yuv420p", {}),
    (160, "yuv444p", {"aq-mode": "3"}),
    (160, "yuv420p", {"error-resilient": "default", "lag-in-frames": "0"}),
    (160, "yuv420p", {"deadline": "good", "auto-alt-ref": "1", "lag-in-frames": "8"}),
    (160, "yuv420p", {"frame-parallel": "0", "lossless": "1"}),
    (640, "yuv420p", {"tile-columns": "1", "tile-rows": "2"}),
]


def write_vp9(folder: Path, width: int, pix_fmt: str, options: dict[str, str]) -> list[bytes]:
    path = folder / "in.webm"
    write_clip(path, pan(N, speed=3, width=width, height=160), codec="libvpx-vp9", pix_fmt=pix_fmt,
               options={**FAST, **options}, lossless=False, gop=8)  # fmt: skip
    return read_stream(path)[2]


def decode(packets: Sequence[bytes]) -> list[bytes | None]:
    """What each packet shows; None where it is refused."""
    decoder = av.CodecContext.create("vp9", "r")
    decoder.thread_count = 1
    shown: list[bytes | None] = []
    for packet in packets:
        try:
            frames = decoder.decode(av.Packet(packet))
        except FFmpegError:
            frames = []
        shown += [frame.to_ndarray().tobytes() for frame in frames] or [None]
    return shown


@pytest.mark.parametrize(("width", "pix_fmt", "options"), OPTIONS)
def test_tiles_are_where_the_decoder_reads_them(
    tmp_path: Path, width: int, pix_fmt: str, options: dict[str, str]
) -> None:
    packets = write_vp9(tmp_path, width, pix_fmt, options)
    whole = decode(packets)
    assert None not in whole
    n_tiles = 0
    for number, packet in enumerate(packets):
        place = 0
        for frame in split_packet(packet):
            tiles = find_tiles(frame, width)
            n_tiles = max(n_tiles, len(tiles))
            assert not tiles or tiles[-1].stop == len(frame)
            for tile in tiles:
                content = bytearray(packet)
                content[place + tile.start] |= 0x80  # a bit that must not be set
                assert decode([*packets[:number], bytes(content)])[number] is None
            place += len(frame)
    assert n_tiles == (4 if width == 640 else 1)


@pytest.mark.parametrize(("width", "pix_fmt", "options"), OPTIONS)
def test_something_else_is_decoded_in_their_place(
    tmp_path: Path, width: int, pix_fmt: str, options: dict[str, str]
) -> None:
    packets = write_vp9(tmp_path, width, pix_fmt, options)
    whole = decode(packets)
    number = 3
    spoilt = spoil_tiles(packets[number], width)
    assert len(spoilt) == len(packets[number])
    seen = decode([*packets[:number], spoilt, *packets[number + 1 :]])
    assert seen[:number] == whole[:number]
    assert seen[number] != whole[number]
    assert seen[8:] == whole[8:]  # from the next key frame on


def test_what_shows_another_picture_has_no_tiles() -> None:
    assert find_tiles(bytes([0b10_0_0_1_000]), 64) == []
    assert spoil_tiles(bytes([0b10_0_0_1_000]), 64) == bytes([0b10_0_0_1_000])


@given(st.binary(max_size=300), st.integers(1, 5000))
def test_rubbish_is_refused_or_read(content: bytes, width: int) -> None:
    assert read_pixels(content) >= 0
    assert sum(map(len, split_packet(content))) <= len(content)
    for start in (b"", b"\x82\x49\x83\x42", b"\x86\x00"):
        try:
            tiles = find_tiles(start + content, width)
        except ValueError:
            continue
        assert all(0 < tile.start <= tile.stop for tile in tiles)


def test_cut_headers_are_refused(tmp_path: Path) -> None:
    packet = write_vp9(tmp_path, 160, "yuv420p", {})[0]
    for n in (0, 1, 4, 9, 15):
        with pytest.raises(ValueError, match=r"cut off|not a frame|sync code"):
            find_tiles(packet[:n], 160)
    assert read_pixels(packet) == 160 * 160
