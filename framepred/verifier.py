"""A second decoder, that refuses what the first one conceals.

FFmpeg's own decoder of VP9 takes a damaged packet, or one whose reference is gone, without a word.
That of libvpx does not: the probabilities in VP9 follow the data, so that the wrong ones soon end
too late, or too early and leave a rest that is no frame, and then it asks for a key frame::

    packets    K P P x P P P K P      x: damaged, or the one behind a lost one
    refused          x . . .          told is the first: the others are smeared

libvpx makes room for whatever size a header says, so a size is read before it is shown one (VP9
bitstream specification, 6.2 and 7.2), and what could hide another header is shown as one frame.
"""

from __future__ import annotations

import itertools

from av.codec import CodecContext
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

__all__ = ["Vp9Verifier"]

_DECODER = "libvpx-vp9"
_SYNC = 0x498342  # stands before each size that no picture before it bounds
_MARKER = 0b110  # the upper bits of a byte at both ends of the index of a packet's frames
_SRGB = 7
_OWN_SYNC = 4  # bytes that the sync code in a frame's own header begins in
_LONGEST_HEADER = 32  # bytes that hold all that is read of one


class Vp9Verifier:
    """Tells VP9 packets that libvpx refuses; tells none where FFmpeg was built without it."""

    def __init__(self, *, max_pixels: int) -> None:
        """Begin.

        :param max_pixels: packets that announce a larger picture are not looked at.
        """
        self._max_pixels = max_pixels
        self._decoder = _open()
        self._is_following = False  # it has taken all since a key frame

    def is_damaged(self, packet: bytes) -> bool:
        """Check the next packet; of those behind damage, up to the next key frame, none is."""
        if self._decoder is None:
            return False
        frames = _split(packet)
        if any(_read_pixels(frame) > self._max_pixels for frame in frames):
            self._is_following = False
            return False
        if frames == [packet] and _hides_frame(packet):
            packet += _make_index(packet)
        try:
            self._decoder.decode(Packet(packet))
        except FFmpegError:
            was_following, self._is_following = self._is_following, False
            if was_following:
                self._decoder = _open()  # the old one may have made much room
            return was_following
        self._is_following = True
        return False


def _open() -> VideoCodecContext | None:
    try:
        decoder = CodecContext.create(_DECODER, "r")
    except UnknownCodecError:
        return None
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    return decoder


def _split(packet: bytes) -> list[bytes]:
    """Return the frames of a packet, which has an index at its end if they are several."""
    index = packet[-1:]
    if packet and packet[-1] >> 5 == _MARKER:
        n_frames, n_bytes = (packet[-1] & 7) + 1, (packet[-1] >> 3 & 3) + 1
        index = packet[-2 - n_frames * n_bytes :]
        if len(index) == 2 + n_frames * n_bytes and index[0] == index[-1]:
            sizes = [
                int.from_bytes(index[i : i + n_bytes], "little")
                for i in range(1, len(index) - 1, n_bytes)
            ]
            ends = list(itertools.accumulate(sizes))
            return [packet[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    return [packet]


def _make_index(frame: bytes) -> bytes:
    """Return the index that says that a packet is this one frame and nothing else."""
    marker = bytes([_MARKER << 5 | 3 << 3])
    return marker + len(frame).to_bytes(4, "little") + marker


def _hides_frame(frame: bytes) -> bool:
    """Whether there may be another header with a size behind a frame's own, at whatever bit."""
    for shift in range(8):
        wanted, mask = _SYNC << shift, 0xFFFFFF << shift
        middle = (wanted >> 8 & 0xFFFF).to_bytes(2, "big")
        place = frame.find(middle, _OWN_SYNC)
        while place >= 0:
            if int.from_bytes(frame[place - 1 : place + 3], "big") & mask == wanted:
                return True
            place = frame.find(middle, place + 1)
    return False


def _read_pixels(frame: bytes) -> int:
    """Return the size that a frame's header announces, 0 where it has that of another picture.

    A header that makes no sense announces nothing.
    """
    head = frame[:_LONGEST_HEADER].ljust(_LONGEST_HEADER, b"\0")
    value, left = int.from_bytes(head, "big"), 8 * len(head)

    def read(n: int) -> int:
        nonlocal left
        left -= n
        return value >> left & ((1 << n) - 1)

    read(2)
    profile = read(1) | read(1) << 1
    if profile == 3:
        read(1)
    if read(1):
        return 0  # shows a picture that there is already
    is_inter, is_shown, is_resilient = read(1), read(1), read(1)
    is_intra_only = False
    if is_inter:
        is_intra_only = bool(not is_shown and read(1))
        if not is_resilient:
            read(2)
    if not is_inter or is_intra_only:
        if read(24) != _SYNC:
            return 0
        if not is_inter or profile > 0:
            if profile >= 2:
                read(1)
            is_subsampled = read(3) != _SRGB
            if is_subsampled:
                read(1)
            if profile in (1, 3):
                read(3 if is_subsampled else 1)
    if is_inter:
        read(8)
        if not is_intra_only:
            read(12)
            if read(1) or read(1) or read(1):
                return 0
    return (read(16) + 1) * (read(16) + 1)
