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
from .inbox import Inbox
from .settings import Address
from .shares import Shares

LAST_DRAINS = 65_536
"""Drains of one socket at the end. Less: what came before is lost. More: a flood that goes on keeps us."""

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
        inbox: Inbox,
    ) -> None:
        """Take a bound socket and ask the kernel for ``buffer`` bytes."""
        self._socket = sock
        self._inbox = inbox
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
        """Take what is there."""
        for _ in range(LAST_DRAINS):
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
        """Take what is there and hand it on; return how many datagrams that was."""
        try:
            frames, senders = self._inbox.take(self._socket, senders=not self._anybody)
        except BlockingIOError:
            return 0
        except OSError:
            self._counts["dropped.socket-error"] += 1
            return 0
        heard = len(frames)
        self._counts["received"] += heard
        if not self._anybody:
            frames = self._welcome(frames, senders)
        if frames:
            self._receive(frames)
        return heard

    def _welcome(self, frames: list[bytes], senders: list[str]) -> list[bytes]:
        """Return the frames of those who are heard, within their shares."""
        welcome: list[bytes] = []
        foreign = over = 0
        allowed, shares, now = self._allowed, self._shares, asyncio.get_running_loop().time()
        for frame, sender in zip(frames, senders, strict=True):
            if not allowed(sender):
                foreign += 1
            elif shares is None or shares.take(sender, now):
                welcome.append(frame)
            else:
                over += 1
        if foreign:
            self._counts["dropped.not-allowed"] += foreign
        if over:
            self._counts["dropped.source-limit"] += over
        return welcome
