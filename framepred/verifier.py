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

from av.codec import CodecContext
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

from .vp9_headers import INDEX_MARKER, SYNC, read_pixels, split_packet

__all__ = ["Vp9Verifier"]

_DECODER = "libvpx-vp9"
_OWN_SYNC = 4  # bytes that the sync code in a frame's own header begins in


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
        frames = split_packet(packet)
        if any(read_pixels(frame) > self._max_pixels for frame in frames):
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


def _make_index(frame: bytes) -> bytes:
    """Return the index that says that a packet is this one frame and nothing else."""
    marker = bytes([INDEX_MARKER << 5 | 3 << 3])
    return marker + len(frame).to_bytes(4, "little") + marker


def _hides_frame(frame: bytes) -> bool:
    """Whether there may be another header with a size behind a frame's own, at whatever bit."""
    for shift in range(8):
        wanted, mask = SYNC << shift, 0xFFFFFF << shift
        middle = (wanted >> 8 & 0xFFFF).to_bytes(2, "big")
        place = frame.find(middle, _OWN_SYNC)
        while place >= 0:
            if int.from_bytes(frame[place - 1 : place + 3], "big") & mask == wanted:
                return True
            place = frame.find(middle, place + 1)
    return False
