"""Damage in VP8, found by where its symbols end: against an encoder, FFmpeg, and libvpx's files."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from synthetic import read_planes, read_what_decodes, write_clip
from test_continuity import read_stream
from test_scanning import gaps, pan
from test_smears import drop

from framepred import partitions, workers
from framepred.bool_coder import BoolReader
from framepred.partitions import PartitionChecker, _End
from framepred.reader import VideoReader
from framepred.scanning import scan
from framepred.timeline import Kind
from framepred.vp8_headers import STATE_SIZE, HeaderReader
from framepred.workers import Workers

N, GOP = 24, 12
FAST = {"deadline": "realtime", "cpu-used": "8"}


class BoolWriter:
    """The encoder of RFC 6386, 7.3, with numbers of any size instead of carries."""

    def __init__(self) -> None:
        self._bottom, self._range, self._n_shifts = 0, 255, 0

    def write(self, value: int, p: int) -> None:
        split = 1 + ((self._range - 1) * p >> 8)
        if value:
            self._bottom += split
            self._range -= split
        else:
            self._range = split
        while self._range < 128:
            self._range, self._bottom = self._range * 2, self._bottom * 2
            self._n_shifts += 1

    def end(self) -> bytes:
        """What has been written, ended as libvpx does: it keeps back the last three bytes."""
        for _ in range(32):
            self.write(0, 128)
        n_bytes = 1 + (self._n_shifts + 7) // 8
        data = self._bottom << 8 * (n_bytes - 1) - self._n_shifts
        return data.to_bytes(n_bytes, "big")[: (self._n_shifts - 24) // 8 + 1]


bools = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 255)), max_size=300)


@given(bools)
def test_bools_are_read_as_they_were_written(written: list[tuple[int, int]]) -> None:
    writer = BoolWriter()
    for value, p in written:
        writer.write(value, p)
    data = writer.end()
    reader = BoolReader(data)
    assert [reader.read(p) for _, p in written] == [value for value, _ in written]
    assert reader.has_ended
    assert 8 <= reader.n_left <= 16
    for changed in (data[:-1], data + b"\0", data[:-1] + b"\1"):
        reader = BoolReader(changed)
        for _, p in written:
            reader.read(p)
        assert not reader.has_ended


def test_reading_far_behind_the_end_is_an_error() -> None:
    reader = BoolReader(b"\x80")
    with pytest.raises(IndexError):
        reader.read_number(1000)


def write_vp8(path: Path, n: int = N, *, options: dict[str, str] | None = None) -> Path:
    noise = np.random.default_rng(0).normal(0, 8, (n, 97, 163, 3))
    frames = pan(n, speed=5, width=163, height=97)
    frames = [np.uint8(np.clip(f + e, 0, 255)) for f, e in zip(frames, noise, strict=True)]
    options = {**FAST, "b": "400k", **(options or {})}
    return write_clip(path, frames, codec="libvpx", options=options, lossless=False, gop=GOP)


def check(packets: Sequence[bytes]) -> list[int]:
    with contextlib.closing(PartitionChecker()) as checker:
        for packet in packets:
            checker.feed(packet)
        return [i for i in range(len(packets)) if checker.is_damaged()]


def find_ends(packets: Sequence[bytes]) -> list[int]:
    """How each packet ends, read as workers read it."""
    headers, ends = HeaderReader(), []
    for packet in packets:
        state = headers.save()
        headers.read(packet)
        ends.append(min(partitions.work(state + packet)))
    return ends


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vp8(tmp_path_factory.mktemp("vp8") / "whole.webm")


@pytest.mark.parametrize(
    "options",
    [
        {"deadline": "good", "cpu-used": "0", "b": "2M"},
        {"deadline": "best", "qmin": "50", "qmax": "60", "sharpness": "4"},
        {"slices": "8", "profile": "1"},
        {"slices": "2", "profile": "3", "error-resilient": "default"},
        pytest.param(
            {"static-thresh": "1000", "qmin": "0", "qmax": "2", "b": "20M"},
            marks=pytest.mark.exhaustive,
        ),
        {"b": "10k", "error-resilient": "partitions", "slices": "4"},
        {"noise-sensitivity": "4", "screen-content-mode": "1"},
    ],
    ids=str,
)
def test_whatever_libvpx_writes_is_whole(tmp_path: Path, options: dict[str, str]) -> None:
    path = write_vp8(tmp_path / "in.webm", options=options)
    packets = read_stream(path)[2]
    assert find_ends(packets) == [_End.EXACT] * len(packets)
    assert check(packets) == []
    assert not scan(path).is_damaged


def test_pictures_ahead_and_reversed_vectors_are_whole(tmp_path: Path) -> None:
    """Only in two passes libvpx makes frames that are not shown, and whose vectors are reversed."""
    program = shutil.which("ffmpeg")
    if program is None or "libvpx " not in subprocess.run(
        [program, "-v", "error", "-encoders"], capture_output=True, text=True
    ).stdout:  # fmt: skip
        pytest.skip("there is no ffmpeg with libvpx")
    source = write_clip(tmp_path / "in.mkv", pan(60, speed=3), codec="ffv1")
    made = tmp_path / "made.webm"
    options = "-c:v libvpx -b:v 300k -deadline good -auto-alt-ref 1 -lag-in-frames 16 -g 60"
    for number, target in (("1", "-f null -"), ("2", str(made))):
        command = [program, "-v", "error", "-y", "-i", str(source), *options.split()]
        subprocess.run([*command, "-pass", number, *target.split()], check=True, cwd=tmp_path)
    packets = read_stream(made)[2]
    headers = HeaderReader()
    is_backward = [headers.read(packet).is_backward for packet in packets]
    assert any(map(any, is_backward))
    assert any(not packet[0] & 0x10 for packet in packets)
    assert find_ends(packets) == [_End.EXACT] * len(packets)


def flip(source: Path, target: Path, seed: int) -> Path:
    """Flip a bit of some stored packet, behind the size of its picture."""
    rng = random.Random(seed)
    packet = rng.choice(read_stream(source)[2])
    data = bytearray(source.read_bytes())
    data[data.index(packet) + rng.randrange(10, len(packet))] ^= 1 << rng.randrange(8)
    target.write_bytes(data)
    return target


def find_changed(whole: Path, damaged: Path) -> set[int]:
    """The frames that FFmpeg shows otherwise, or not at all."""
    true, seen = dict(read_planes(whole)), read_what_decodes(damaged)
    return {i for i, at in enumerate(sorted(true)) if seen.get(at) != true[at]}


def find_bad(path: Path) -> set[int]:
    found = gaps(scan(path, detect=("missing", "corrupt", "smeared")))
    return {i for start, stop, *_ in found for i in range(start, stop)}


def test_flipped_bits_are_found(tmp_path: Path, whole: Path) -> None:
    n_changed = n_found = n_told = 0
    for seed in range(8):
        path = flip(whole, tmp_path / "in.webm", seed)
        changed, bad = find_changed(whole, path), find_bad(path)
        n_changed, n_told = n_changed + len(changed), n_told + len(bad)
        n_found += len(changed & bad)
    assert n_changed > 30
    assert n_found == n_changed
    assert n_found >= 0.95 * n_told


@pytest.mark.parametrize("kind", ["missing", "corrupt", "smeared"])
def test_who_asks_for_no_damage_waits_for_no_reading(
    whole: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    asked = []
    monkeypatch.setattr(PartitionChecker, "feed", lambda _, packet: asked.append(packet))
    monkeypatch.setattr(PartitionChecker, "is_damaged", lambda _: False)
    assert gaps(scan(whole, detect=(kind,))) == []
    assert len(asked) == (0 if kind == "missing" else N)


@pytest.mark.parametrize("lost", [1, 4, 11, 13, 20])
def test_what_follows_a_lost_packet_is_found(tmp_path: Path, whole: Path, lost: int) -> None:
    path = drop(whole, tmp_path / "in.webm", lost)
    assert find_bad(path) == find_changed(whole, path)


def test_ends_of_other_encoders_are_no_damage(whole: Path) -> None:
    """They may save a byte, or fill up with zeros; who ends in that way is not accused."""
    packets = read_stream(whole)[2]
    for change in (lambda p: p[:-1], lambda p: p + b"\0", lambda p: p + b"\0" * 9):
        assert check([change(packet) for packet in packets]) == []
    # One recording behind another, by another encoder.
    mixed = packets[:GOP] + [packet + b"\0" for packet in packets[GOP:]]
    assert check(mixed) == []
    assert check([*packets[:5], packets[5] + b"\0", *packets[6:]]) == [5]
    # Nor are those of one that ends so by chance now and then.
    assert check([p + b"\0" * (i % 3 > 0) for i, p in enumerate(packets)]) == []
    for n in (8, 16, 64):
        assert check([packet + b"\0" * (-len(packet) % n) for packet in packets]) == []
    far = [*mixed[:15], mixed[15] + b"\1" * 9, *mixed[16:]]
    assert check(far) == [15]


def test_the_first_packet_is_judged_by_those_behind_it(whole: Path) -> None:
    first, *rest = read_stream(whole)[2]
    assert check([first[:-200], *rest]) == [0]
    assert check([first[:200]]) == []  # who made this ends in that way, for all that is known
    assert check([first[:-1], *rest]) == [0]


def test_what_is_not_shown_hands_its_damage_on(whole: Path) -> None:
    packets = read_stream(whole)[2]
    hidden = bytes([packets[4][0] & ~0x10]) + packets[4][1:]
    assert check([*packets[:4], hidden, *packets[5:]]) == []
    assert check([*packets[:4], hidden[:-30], *packets[5:]]) == [5]


# What is left of a frame without its coefficients.


def flip_in(packets: Sequence[bytes], number: int, place: float) -> list[bytes]:
    """Flip a bit of a packet at that share of what is behind its modes; below 0: in them."""
    packet = bytearray(packets[number])
    tag = int.from_bytes(packet[:3], "little")
    start = (3 if tag & 1 else 10) + (tag >> 5)
    at = int(start + place * (len(packet) - start)) if place >= 0 else start // 2
    packet[at] ^= 0x10
    return [*packets[:number], bytes(packet), *packets[number + 1 :]]


def strip(packets: Sequence[bytes]) -> list[bytes | None]:
    with contextlib.closing(PartitionChecker()) as checker:
        for packet in packets:
            checker.feed(packet)
        stripped = []
        for packet in packets:
            checker.is_damaged()
            stripped.append(checker.strip(packet))
        return stripped


def decode(packets: Sequence[bytes]) -> list[NDArray[np.uint8]]:
    decoder = av.CodecContext.create("vp8", "r")
    decoder.thread_count = 1
    return [
        frame.to_ndarray(format="rgb24")
        for packet in packets
        for frame in decoder.decode(av.Packet(packet))
    ]


@pytest.mark.parametrize("slices", ["0", "4"])
def test_spoilt_coefficients_are_left_out(tmp_path: Path, slices: str) -> None:
    options = {**FAST, "b": "400k", "slices": slices}
    frames = pan(N, speed=5, width=163, height=97)
    path = write_clip(tmp_path / "in.webm", frames, codec="libvpx", options=options,
                      lossless=False, gop=GOP)  # fmt: skip
    packets = read_stream(path)[2]
    assert strip(packets) == packets
    true = decode(packets)
    for number, place in ((3, 0.1), (GOP + 2, 0.5)):
        spoilt = flip_in(packets, number, place)
        stripped = strip(spoilt)
        assert [i for i in range(N) if stripped[i] != spoilt[i]] == [number]
        content = stripped[number]
        assert content is not None
        headers = HeaderReader()
        for packet in packets[:number]:
            headers.read(packet)
        header = headers.read(content)
        assert all(not any(content[place]) for place in header.places)
        assert content[: header.places[0].start] == packets[number][: header.places[0].start]
        as_stored, as_predicted = decode(spoilt), decode([*packets[:number], *stripped[number:]])
        assert all(map(np.array_equal, as_predicted[:number], true))
        errors = [
            [float(np.square(frame - t.astype(float)).mean()) for frame, t in pairs]
            for pairs in (zip(seen, true, strict=True) for seen in (as_stored, as_predicted))
        ]
        stop = number + GOP - number % GOP
        if slices == "0":  # of several partitions one may hold little that matters
            assert np.mean(errors[1][number:stop]) < 0.7 * np.mean(errors[0][number:stop])
        assert not any(errors[1][stop:])


def test_of_what_else_is_spoilt_nothing_is_told(whole: Path) -> None:
    packets = read_stream(whole)[2]
    modes, key = flip_in(packets, 4, -1), flip_in(packets, GOP, 0.5)
    assert strip(modes) == [*packets[:4], None, *packets[5:]]
    assert strip(key) == [*packets[:GOP], None, *packets[GOP + 1 :]]
    # Where all end otherwise, an end that is like one of libvpx's may be so by chance.
    longer = [packet + b"\0" for packet in packets]
    spoilt = flip_in(longer, 4, 0.2)
    assert strip(longer) == longer
    assert strip(spoilt) in ([*longer[:4], None, *longer[5:]], spoilt)


def test_headers_go_on_where_others_were(whole: Path) -> None:
    packets = read_stream(whole)[2]
    one = HeaderReader()
    for packet in packets[:9]:
        one.read(packet)
    state = one.save()
    assert len(state) == STATE_SIZE
    other = HeaderReader.restore(state)
    mine, its = one.read(packets[9]), other.read(packets[9])
    assert (mine.probabilities, mine.n_columns, mine.n_rows) == (its.probabilities, 11, 7)
    assert other.save() == one.save()
    assert HeaderReader.restore(HeaderReader().save()).save() == HeaderReader().save()


def test_a_header_that_is_refused_leaves_no_trace(whole: Path) -> None:
    """As in the decoder, which goes on with what it had."""
    packets = read_stream(whole)[2]
    headers = HeaderReader()
    for packet in packets[:4]:
        headers.read(packet)
    state = headers.save()
    key = packets[GOP]
    for refused in (
        packets[4][:90], key[:6], key[:90], key[:6] + bytes(4) + key[10:], key[:3] + key, b"\x11"
    ):  # fmt: skip
        with pytest.raises((ValueError, IndexError)):
            headers.read(refused)
        assert headers.save() == state


def test_a_stream_that_begins_without_a_key_frame_says_nothing(whole: Path) -> None:
    packets = read_stream(whole)[2]
    with pytest.raises(ValueError, match="no key frame"):
        HeaderReader().read(packets[1])
    assert check(packets[1:4]) == []


@settings(deadline=None)  # some say that they are large
@given(st.lists(st.binary(min_size=1, max_size=200), max_size=6))
def test_rubbish_is_read_to_no_harm(packets: list[bytes]) -> None:
    check([b"\x10\0\0\x9d\x01\x2a" + packets[0], *packets] if packets else [])
    check(packets)


def test_no_larger_picture_is_read_than_is_decoded(whole: Path) -> None:
    first = read_stream(whole)[2][0]
    assert first[6:10] == struct.pack("<HH", 163, 97)
    HeaderReader(max_pixels=163 * 97).read(first)
    with pytest.raises(ValueError, match="larger"):
        HeaderReader(max_pixels=163 * 97 - 1).read(first)
    with VideoReader(whole, verify=True) as reader:
        assert reader._partitions is not None
        assert reader._partitions._headers._max_pixels == 2**27


# Workers.


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have even little read by workers."""
    monkeypatch.setattr(partitions, "_MANY", 0)
    monkeypatch.setattr(partitions, "count_workers", lambda: 2)


def list_workers() -> list[int]:
    """The processes that this one has started to read partitions."""
    if not Path("/proc/self/stat").is_file():
        pytest.skip("there is no /proc, which lists processes")
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid() and b"partitions" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.mark.usefixtures("many")
def test_workers_find_the_same(tmp_path: Path, whole: Path) -> None:
    for seed in range(3):
        path = flip(whole, tmp_path / "in.webm", seed)
        assert find_bad(path) == find_changed(whole, path)
    assert list_workers() == []


@pytest.mark.usefixtures("many")
def test_a_picture_without_an_area_is_damage(tmp_path: Path, whole: Path) -> None:
    packet = read_stream(whole)[2][GOP]
    data = bytearray(whole.read_bytes())
    place = data.index(packet) + 6
    data[place : place + 4] = bytes(4)
    (tmp_path / "in.webm").write_bytes(data)
    assert find_bad(tmp_path / "in.webm") == set(range(GOP, N))


def test_many_macroblocks_of_few_bytes_are_much_work(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "count_workers", lambda: 2)
    packets = read_stream(whole)[2]
    n_bytes = sum(map(len, packets))
    monkeypatch.setattr(partitions, "_MANY", n_bytes + 1)
    with contextlib.closing(PartitionChecker()) as checker:
        for packet in packets:
            checker.feed(packet)
        assert checker._n_read == n_bytes + N * (11 * 7 // 2)
        assert checker._workers is not None


@pytest.mark.usefixtures("many")
def test_workers_end_with_the_reader(whole: Path) -> None:
    with VideoReader(whole, verify=True) as reader:
        next(reader.read())
        assert 1 <= len(list_workers()) <= 2
    assert list_workers() == []


@pytest.mark.usefixtures("many")
def test_nothing_is_imported_from_the_folder_one_is_in(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("enum", "framepred", "struct"):
        (tmp_path / f"{name}.py").write_text("open('imported', 'w')", encoding="utf-8")
    assert check(read_stream(whole)[2]) == []
    assert not (tmp_path / "imported").exists()


def test_workers_run_this_very_package(tmp_path: Path) -> None:
    """Of two copies that can be imported, the one that asks."""
    copy = tmp_path / "framepred"
    shutil.copytree(
        Path(partitions.__file__).parent, copy, ignore=lambda _, names: {*names} - {*_MODULES}
    )
    source = (copy / "partitions.py").read_text(encoding="utf-8")
    own = "\n\ndef work(job: bytes) -> bytes:\n    return __file__.encode()\n\n\ndef main("
    assert "\n\ndef main(" in source
    (copy / "partitions.py").write_text(source.replace("\n\ndef main(", own), encoding="utf-8")
    code = (
        "from framepred.partitions import work; from framepred.workers import Workers\n"
        "with Workers(work, 1) as team: print(team.submit(b'').result().decode())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.strip() == str(copy / "partitions.py")


_MODULES = [path.name for path in Path(partitions.__file__).parent.glob("*.py")]


def double(job: bytes) -> bytes:
    return job + job


def test_jobs_of_a_worker_that_ends_are_done_here(caplog: pytest.LogCaptureFixture) -> None:
    """The module of this test cannot be imported by workers, so that each ends at once."""
    with Workers(double, 2) as team, caplog.at_level(logging.WARNING):
        futures = [team.submit(bytes([i])) for i in range(5)]
        assert [future.result() for future in futures] == [bytes([i, i]) for i in range(5)]
    assert 1 <= caplog.text.count("going on without it") <= 2


def test_closing_waits_for_no_job(whole: Path) -> None:
    packets = read_stream(whole)[2]
    start = time.monotonic()
    with Workers(partitions.work, 1) as team:
        for _ in range(200):
            team.submit(HeaderReader().save() + packets[0])
    assert time.monotonic() - start < 2


def test_one_core_needs_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert workers.count_workers() == 0
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert workers.count_workers() == 8
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert workers.count_workers() == 0


@pytest.mark.parametrize("name", ["no-cues", "vfr_screencast_null", "resolution-change"])
def test_real_files_are_whole(awkward: Path, name: str) -> None:
    codec, _, packets = read_stream(awkward / f"{name}.webm")
    assert codec == "vp8"
    assert find_ends(packets[:40]) == [_End.EXACT] * min(40, len(packets))
