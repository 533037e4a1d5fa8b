"""What is under way in a ladder: legs, requests on their hops, and what was answered."""

from dataclasses import dataclass, field

from support.ladder_wire import Headers


class LadderError(ValueError):
    """The ladder asks for something SIP does not have, or that nothing before it explains."""


@dataclass(slots=True)
class Leg:
    """One Call-ID."""

    name: str
    call_id: str
    uac: str
    from_head: str
    to_head: str
    from_tag: str
    to_tags: dict[str, str] = field(default_factory=dict)
    cseq: dict[str, int] = field(default_factory=dict)
    answered_by: str = ""
    correlation_id: str = ""


@dataclass(slots=True, eq=False)
class Request:
    """One request on one hop, and what came back."""

    leg: Leg
    src: str
    dst: str
    label: str
    method: str
    number: int
    branch: str
    uri: str
    vias: tuple[str, ...]
    headers: Headers
    media: str
    from_head: str
    to_head: str
    to_tag: str = ""
    hops_left: int = 70
    reversed: bool = False
    """Sent by the callee's side of the dialog."""
    parent: "Request | None" = None
    """The request that a proxy passed on as this one."""
    responses: "dict[int, Response]" = field(default_factory=dict)
    final: int = 0
    passed_on: bool = False

    @property
    def origin(self) -> "Request":
        """The request as its UA sent it."""
        request = self
        while request.parent is not None:
            request = request.parent
        return request


@dataclass(slots=True)
class Response:
    """What a UAS, or a proxy on its own behalf, said; `at` orders siblings."""

    at: float
    maker: str
    to_tag: str
    headers: Headers
    media: str


@dataclass(frozen=True, slots=True)
class Sent:
    """One message on one hop."""

    at: float
    src: str
    dst: str
    leg: Leg
    wire: bytes
    method: str
    status: int


@dataclass(slots=True)
class Say:
    """What a box is told to send.

    Args:
        at: seconds.
        src: sending box.
        dst: receiving box.
        method: of the request, or of the request that is answered.
        status: 0 for a request.
        within: an INVITE inside a dialog.
        leg: name of the Call-ID; "": the one that this hop last used, or that the sender is part of.
        label: tells transactions apart that run between the same two boxes at once.
        target: name or URI for the Request-URI.
        headers: replace those of the same name; `+Name` adds to them, an empty value drops them.
        media: a name of MEDIA, or m= lines without `m=` separated by `|`.
        from_: caller of a new leg.
        to: To of a new leg, where it differs from the target.
        dialog: box whose To-tag an in-dialog request of the caller uses; "": the one that answered.
        again: the same bytes as the last message of this kind here (RFC 3261 s.17.1.1.2).
    """

    at: float
    src: str
    dst: str
    method: str
    status: int = 0
    within: bool = False
    leg: str = ""
    label: str = ""
    target: str = ""
    headers: Headers = ()
    media: str = ""
    from_: str = ""
    to: str = ""
    dialog: str = ""
    again: bool = False

    def __str__(self) -> str:
        return f"{self.src}>{self.dst} {self.status or ''} {self.method}"
