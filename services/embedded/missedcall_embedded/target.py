"""Where `missedcall send` sends: `udp://HOST:PORT`, `tcp://HOST:PORT` or `tls://HOST:PORT`."""

import argparse
from typing import NamedTuple
from urllib.parse import urlsplit

SCHEMES = ("udp", "tcp", "tls")


class Target(NamedTuple):
    """Where the frames go."""

    scheme: str
    """One of `SCHEMES`."""
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def target(text: str) -> Target:
    """Read a target as the command line has it.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
        rest = parts.path.strip("/") + parts.query + parts.fragment + (parts.username or "")
        if parts.scheme in SCHEMES and parts.hostname and port and not rest:
            return Target(parts.scheme, parts.hostname, port)
    except ValueError:  # a port above 65535, a bracket without its pair
        pass
    raise argparse.ArgumentTypeError(
        f"{text!r} is no target; expected udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT"
    )
