"""Many datagrams by one system call: recvmmsg(2), which the socket module does not have.

Rule 1: where the system does not have it either, they are received one by one; who asks sees no difference.
"""

import ctypes
import errno
import mmap
import os
import socket
from typing import Final

SLOTS: Final = 256
"""Datagrams taken at once. Fewer: the event loop costs more than the datagrams. More: a small kernel buffer
(212,992 bytes by default, some 160 datagrams) runs over while these are decoded."""
SLOT: Final = 65_536
"""Bytes for one; no UDP datagram is longer. What is not written to is no memory."""
NAME: Final = 28
"""Bytes of the longest sender's address, struct sockaddr_in6."""
HOSTS: Final = 4096
"""Addresses whose text is kept. More: memory that a forger of source addresses can fill."""

_ADDRESS: Final = {socket.AF_INET: slice(4, 8), socket.AF_INET6: slice(8, 24)}
"""Where in a sender's address the host is, by family (ip(7), ipv6(7))."""


class _Piece(ctypes.Structure):
    """struct iovec: where to."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr: of one datagram, where to and from whom."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("pieces", ctypes.c_void_p),
        ("piece_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr: the same, and its size."""

    _fields_ = (("header", _Header), ("size", ctypes.c_uint))


class Inbox:
    """Room for what is received at once: one for all sockets of an event loop."""

    def __init__(self, *, many: bool = True) -> None:
        """Take the memory; ``many``: by recvmmsg, if there is one."""
        self._call = getattr(ctypes.CDLL(None, use_errno=True), "recvmmsg", None) if many else None
        self._hosts: dict[bytes, str] = {}
        self._slots = mmap.mmap(-1, SLOTS * SLOT)
        self._names = mmap.mmap(-1, SLOTS * NAME)
        slots, names = _where(self._slots), _where(self._names)
        self._pieces = (_Piece * SLOTS)()
        self._messages = (_Message * SLOTS)()
        for number in range(SLOTS):
            self._pieces[number] = _Piece(slots + number * SLOT, SLOT)
            piece = ctypes.addressof(self._pieces[number])
            self._messages[number].header = _Header(names + number * NAME, NAME, piece, 1)
        self._at = ctypes.c_void_p(ctypes.addressof(self._messages))
        words = memoryview(self._messages).cast("B").cast("I")
        self._sizes = words[_Message.size.offset // 4 :: ctypes.sizeof(_Message) // 4]

    def take(self, sock: socket.socket, *, senders: bool) -> tuple[list[bytes], list[str]]:
        """Return what is there, at most `SLOTS` datagrams, and if asked for their senders' addresses.

        Raises:
            BlockingIOError: there is nothing.
            OSError: an error that the kernel reports late, or no memory for one datagram.
        """
        if self._call is None:
            return _one_by_one(sock)
        count = self._call(sock.fileno(), self._at, SLOTS, socket.MSG_DONTWAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            if number == errno.ENOSYS:  # a sandbox
                self._call = None
                return _one_by_one(sock)
            raise OSError(number, os.strerror(number))
        slots = self._slots
        frames = [
            slots[at : at + size] for at, size in zip(_STARTS, self._sizes[:count].tolist(), strict=False)
        ]
        return frames, self._senders(count, _ADDRESS[sock.family]) if senders else []

    def _senders(self, count: int, host: slice) -> list[str]:
        senders: list[str] = []
        names, hosts = self._names, self._hosts
        for at in range(0, count * NAME, NAME):
            packed = names[at + host.start : at + host.stop]
            text = hosts.get(packed)
            if text is None:
                if len(hosts) >= HOSTS:
                    hosts.clear()
                family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
                text = hosts[packed] = socket.inet_ntop(family, packed)
            senders.append(text)
        return senders


_STARTS: Final = range(0, SLOTS * SLOT, SLOT)


def _where(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _one_by_one(sock: socket.socket) -> tuple[list[bytes], list[str]]:
    frames: list[bytes] = []
    senders: list[str] = []
    try:
        for _ in range(SLOTS):
            frame, sender = sock.recvfrom(SLOT)
            frames.append(frame)
            senders.append(sender[0])
    except OSError:
        if not frames:
            raise
    return frames, senders
