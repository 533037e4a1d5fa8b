"""One UDP socket: emptied first, looked at later.

Rule 1: the kernel's buffer is the only room for a burst that costs no message, so it is emptied in one go
        before anything is decoded.
Rule 2: UDP cannot wait: what is received is handed on, and what the kernel could not keep is counted.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable

from .binding import Allowed, name_of
from .settings import Address
from .shares import Shares

DRAIN = 256
"""Datagrams taken per wake-up. Fewer: the event loop costs more than the datagrams. More: a small kernel
buffer (212,992 bytes by default, some 160 datagrams) runs over while these are decoded."""
DATAGRAM = 65_535
"""No UDP datagram is longer."""

_SO_RCVBUFFORCE = 33  # asm-generic/socket.h: past net.core.rmem_max, with CAP_NET_ADMIN
_SO_MEMINFO = 55
_DROPS = 8  # SK_MEMINFO_DROPS, linux/sock_diag.h

Receive = Callable[[list[bytes]], None]
"""Takes frames in the order received; must not block and must not raise for anything a sender wrote."""


class Datagrams:
    """One UDP socket."""

    def __init__(
        self,
        sock: socket.socket,
        buffer: int,
        receive: Receive,
        allowed: Allowed,
        counts: Counter[str],
        shares: Shares | None,
    ) -> None:
        """Take a bound socket and ask the kernel for ``buffer`` bytes."""
        self._socket = sock
        self._receive = receive
        self._allowed = allowed
        self._shares = shares
        self._anybody = allowed.everybody and shares is None
        self._counts = counts
        self._drops = 0
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)

    def start(self) -> None:
        """Receive from now on."""
        asyncio.get_running_loop().add_reader(self._socket, self._drain)

    @property
    def address(self) -> Address:
        """Where it is bound."""
        return name_of(self._socket)

    @property
    def buffer(self) -> int:
        """What the kernel gave."""
        # It doubles what is asked for, to have room for its own bookkeeping, and says the double.
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2

    def drain_all(self) -> None:
        """Take what is there; a flood that goes on does not keep us."""
        for _ in range(DATAGRAM):
            if not self._drain():
                break

    def count_kernel_drops(self) -> None:
        """Bring `dropped.kernel` up to date."""
        try:
            info = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_DROPS + 1))
        except OSError:  # not Linux: the kernel does not say
            return
        drops = struct.unpack_from("=I", info, 4 * _DROPS)[0] if len(info) > 4 * _DROPS else 0
        if drops != self._drops:
            self._counts["dropped.kernel"] += (drops - self._drops) & 0xFFFF_FFFF
            self._drops = drops

    def close(self) -> None:
        """Give the port back."""
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()

    def _drain(self) -> int:
        """Take up to DRAIN datagrams and hand them on; return how many there were."""
        frames: list[bytes] = []
        foreign = over = 0
        try:
            if self._anybody:
                recv = self._socket.recv
                for _ in range(DRAIN):
                    frames.append(recv(DATAGRAM))
            else:
                allowed, shares, now = self._allowed, self._shares, asyncio.get_running_loop().time()
                for _ in range(DRAIN):
                    frame, sender = self._socket.recvfrom(DATAGRAM)
                    if not allowed(sender[0]):
                        foreign += 1
                    elif shares is None or shares.take(sender[0], now):
                        frames.append(frame)
                    else:
                        over += 1
        except BlockingIOError:
            pass
        except OSError:  # an error that the kernel reports late, or no memory for one datagram
            self._counts["dropped.socket-error"] += 1
        heard = len(frames) + foreign + over
        self._counts["received"] += heard
        if foreign:
            self._counts["dropped.not-allowed"] += foreign
        if over:
            self._counts["dropped.source-limit"] += over
        if frames:
            self._receive(frames)
        return heard
