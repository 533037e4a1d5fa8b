"""A message along several hops, and what the other ends say by themselves."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from support.ladder_sip import Network
from support.ladder_state import Say, Sent
from support.ladder_wire import Headers

HOP_S = 0.005
"""From one box to the next: what a proxy needs in a LAN."""

ANSWER_S = 0.001
"""From a message to the hop-by-hop answer to it."""


def along(
    network: Network,
    at: float,
    hops: Sequence[str],
    what: str,
    *,
    alone: bool = False,
    headers: Headers = (),
    **more: str | bool,
) -> Iterator[Sent]:
    """Send a message from box to box and yield all that is then on the wire.

    Args:
        network: the boxes.
        at: seconds, on the first hop.
        hops: `("alice", "proxy", "bob.1")`; `proxy/2` names a transaction.
        what: a method, `re-INVITE`, or a status with the method that it answers.
        alone: nothing is filled in.
        headers: of the first hop; CANCEL and ACK are made anew on each hop and carry them everywhere.
        more: fields of `Say`; target and media belong to the first hop, the proxies hand them on.
    """
    status, _, method = what.partition(" ") if what[0].isdigit() else ("0", "", what)
    for position, (src, dst) in enumerate(pairwise(hops)):
        src, _, left = src.partition("/")  # noqa: PLW2901 - the name without its label
        dst, _, right = dst.partition("/")  # noqa: PLW2901
        own = dict(more) if position == 0 else {k: v for k, v in more.items() if k not in ("target", "media")}
        say = Say(
            at + position * HOP_S,
            src,
            dst,
            method.removeprefix("re-") or "INVITE",
            int(status),
            within=method.startswith("re-"),
            label=left or right,
            headers=headers if position == 0 or method in ("CANCEL", "ACK") else (),
            **own,
        )
        sent = network.send(say)
        yield sent
        answer = None if alone or say.again else _answer(network, sent, say.label)
        if answer is not None:
            yield network.send(answer)


def _answer(network: Network, sent: Sent, label: str) -> Say | None:
    """Return what the other end of the hop says by itself (RFC 3261 s.8.2.6.1, s.9.2, s.17.1.1.3)."""
    say = Say(sent.at + ANSWER_S, sent.dst, sent.src, sent.method, leg=sent.leg.name, label=label)
    if sent.method == "CANCEL" and not sent.status:
        say.status = 200
    elif sent.method == "INVITE" and sent.status >= 300:
        say.method = "ACK"
    elif sent.method == "INVITE" and not sent.status and not network.user_of(sent.dst):
        say.status = 100
    else:
        return None
    return say
