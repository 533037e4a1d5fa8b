"""What a rule may know of one captured message.

Rule 1: a message is parsed once, here; whatever a rule reads is a field of `Seen`.
Rule 2: what only some messages carry is in `offer` (initial INVITE) or `ending` (CANCEL, BYE, finals), so
        that the many plain ones stay small: a hundred thousand calls ring at the same time.
Rule 3: `Seen` is part of the state rows (`rows.py`): fields are only ever appended, with defaults.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple, final

from mypy_extensions import mypyc_attr

from missedcall_common.sip import headers as h
from missedcall_common.sip.message import SipError, SipHead, parse
from missedcall_common.sip.sdp import USER_NOTIFICATION
from missedcall_common.sip.uri import CACHED_CHARS, SipUri, address_of_record, parse_uri
from missedcall_schemas.records import SipMessage

from .causes import DIAGNOSTICS, of_reason

USED_METHODS = {method: method for method in ("INVITE", "ACK", "CANCEL", "BYE", "REFER", "INFO")}
"""Only these can change a verdict; everything else is noise (row 50)."""

EVIDENCE_CHARS = 200
"""Of a Reason or ms-diagnostics value kept as evidence. Less cuts AppUri; more keeps what a sender invents."""

MAX_HISTORY = 16
"""Entries of a History-Info or Diversion chain that are kept. RFC 7044 has no bound; real chains have < 8."""


SILENT_MEDIA = frozenset(
    {"message", "x-ms-message", "applicationsharing", "x-applicationsharing", "data", "x-data", "application"}
)
"""Media of a session that no phone rings for (RFC 4975 s.8; row 46)."""

_MISSED = re.compile(rb"<Event\s[^>]*type=[\"']missed[\"']", re.IGNORECASE)
_CALL_ID = re.compile(rb"<CallId>\s*([^<\s]{1,256})\s*</CallId>", re.IGNORECASE)


@final
@mypyc_attr(acyclic=True)
class Caller:
    """`records.Party`, small: it is kept for every leg of every open call."""

    __slots__ = ("anonymous", "display_name", "number", "source", "uri")

    def __init__(
        self,
        uri: str = "",
        number: str = "",
        display_name: str = "",
        anonymous: bool = False,
        source: str = "",
    ) -> None:
        self.uri: Final = uri
        self.number: Final = number
        self.display_name: Final = display_name
        self.anonymous: Final = anonymous
        self.source: Final = source


@final
@mypyc_attr(acyclic=True)
class Retarget:
    """One History-Info entry (RFC 7044 s.5), or a Diversion value read as one (RFC 7544)."""

    __slots__ = ("aor", "cause", "index", "own_contact", "reason", "voicemail")

    def __init__(
        self,
        aor: str,
        index: str = "",
        cause: int = 0,
        own_contact: bool = False,
        reason: str = "",
        voicemail: bool = False,
    ) -> None:
        self.aor: Final = aor
        self.index: Final = index
        self.cause: Final = cause
        self.own_contact: Final = own_contact
        """`rc` or `np`: the same user's own contact, not a further user (RFC 7044 s.10.2)."""
        self.reason: Final = reason
        """`ms-retarget-reason` or the Diversion reason, lower case."""
        self.voicemail: Final = voicemail


@final
@mypyc_attr(acyclic=True)
class Offer:
    """What an initial INVITE says; of a lost INVITE, what its responses repeat."""

    __slots__ = (
        "caller", "contact_like", "diversions", "history", "links", "media",
        "referred_by", "replaces", "target", "to", "traits",
    )  # fmt: skip

    def __init__(
        self,
        to: str,
        caller: Caller,
        target: str = "",
        contact_like: bool = False,
        history: tuple[Retarget, ...] = (),
        diversions: tuple[Retarget, ...] = (),
        referred_by: str = "",
        replaces: str = "",
        media: tuple[str, ...] = (),
        traits: tuple[str, ...] = (),
        links: tuple[str, ...] = (),
    ) -> None:
        self.to: Final = to
        """Address of record in To."""
        self.caller: Final = caller
        self.target: Final = target
        """Address of record in the Request-URI; "" if the INVITE was not captured."""
        self.contact_like: Final = contact_like
        """The Request-URI names a registered contact, not a user."""
        self.history: Final = history
        self.diversions: Final = diversions
        """Bottom-most first: in the order in which the call was diverted (RFC 5806 s.5)."""
        self.referred_by: Final = referred_by
        self.replaces: Final = replaces
        """Call-ID of the dialog that this INVITE takes over (RFC 3891)."""
        self.media: Final = media
        self.traits: Final = traits
        """Named properties, see `_traits`."""
        self.links: Final = links
        """Identifiers by which this leg may be joined to others, see `join.py`."""

    def linked(self, links: tuple[str, ...]) -> "Offer":
        """Return the same with other identifiers."""
        return Offer(
            self.to,
            self.caller,
            self.target,
            self.contact_like,
            self.history,
            self.diversions,
            self.referred_by,
            self.replaces,
            self.media,
            self.traits,
            links,
        )

    @property
    def silent(self) -> bool:
        """Whether no phone rings for it: an instant message, a shared screen (row 46)."""
        return bool(self.media) and SILENT_MEDIA.issuperset(self.media)


@final
@mypyc_attr(acyclic=True)
class Ending:
    """What a CANCEL, BYE, ACK or final response says beyond its status."""

    __slots__ = ("blocked", "contacts", "dnd", "links", "machine", "raw", "says")

    def __init__(
        self,
        says: tuple[str, ...] = (),
        dnd: bool = False,
        blocked: bool = False,
        machine: str = "",
        contacts: tuple[str, ...] = (),
        raw: str = "",
        links: tuple[str, ...] = (),
    ) -> None:
        self.says: Final = says
        """`Says` values of its Reasons and diagnostics, most telling first."""
        self.dnd: Final = dnd
        self.blocked: Final = blocked
        self.machine: Final = machine
        """`voicemail` or `attendant`: what answered says that it is no person (RFC 3840 s.10)."""
        self.contacts: Final = contacts
        """Addresses of record that a 3xx offers; `voicemail` for one that is."""
        self.raw: Final = raw
        """Reason and diagnostics as received, for the evidence."""
        self.links: Final = links
        """As in `Offer`: a server may name the conversation only when it answers."""

    def linked(self, links: tuple[str, ...]) -> "Ending":
        """Return the same with other identifiers."""
        return Ending(self.says, self.dnd, self.blocked, self.machine, self.contacts, self.raw, links)


@final
@mypyc_attr(acyclic=True)
class Seen:
    """One distinct message of a call."""

    __slots__ = (
        "again_ms", "at_ms", "branch", "call_id", "cseq", "dst", "ending", "from_tag", "method", "offer",
        "parent", "request_uri", "src", "status", "to_tag", "vias",
    )  # fmt: skip

    def __init__(
        self,
        at_ms: int,
        method: str,
        status: int,
        call_id: str,
        cseq: int,
        branch: str,
        parent: str,
        vias: int,
        from_tag: str,
        to_tag: str,
        src: str,
        dst: str,
        offer: Offer | None = None,
        ending: Ending | None = None,
        request_uri: str = "",
        again_ms: int = 0,
    ) -> None:
        self.at_ms = at_ms
        """Earliest capture time, milliseconds since the epoch."""
        self.method = method
        """Of the request, or of the CSeq of the response."""
        self.status = status
        """0 for a request."""
        self.call_id = call_id
        self.cseq = cseq
        self.branch = branch
        """Transaction id of the topmost Via (RFC 3261 s.17.2.3)."""
        self.parent = parent
        """That of the Via below it: the hop before this one; "" if none."""
        self.vias = vias
        self.from_tag = from_tag
        self.to_tag = to_tag
        self.src = src
        self.dst = dst
        self.offer = offer
        self.ending = ending
        self.request_uri = request_uri
        """As received, for the ladder; "" for responses."""
        self.again_ms = again_ms
        """Latest capture time of a retransmission of an INVITE; 0 if there was none."""


shared = lru_cache(maxsize=16_384)(str)
"""Return the text, as the one object that stands for all equal ones of late: a call's messages repeat their names,
and a hundred thousand calls ring at the same time. Less than the texts of a call's first seconds: nothing is saved.
More: the cache is as large as what it saves."""


def see(message: SipMessage, link_headers: tuple[str, ...] = ()) -> Seen | None:
    """Parse one captured message.

    Args:
        message: The record; its head is parsed here and nowhere else.
        link_headers: Lower-case names of further headers that carry the A-leg's Call-ID.

    Returns:
        None if the method can never matter.

    Raises:
        SipError: the head is not SIP, or lacks what identifies its transaction.
    """
    head = parse(message.head)
    number, name = h.cseq(head)
    status = head.status
    method = USED_METHODS.get(name if status else head.method)
    if method is None:
        return None
    call_id = head.first("call-id") or message.call_id
    branch, parent, vias = h.branches(head)
    from_value, to_value = head.first("from"), head.first("to")
    if not (call_id and from_value and to_value and vias):
        missing = "Call-ID" if not call_id else "From, To or Via"
        raise SipError(f"no {missing} in a {status or method}: expected the fields of RFC 3261 s.8.1.1")
    to_tag = shared(h.tag(to_value))
    seen = Seen(
        message.captured_ms,
        method,
        status,
        shared(call_id),
        number,
        shared(branch),
        shared(parent),
        vias,
        shared(h.tag(from_value)),
        to_tag,
        shared(message.src),
        shared(message.dst),
    )
    if not status:
        seen.request_uri = shared(head.request_uri)
        if method == "INVITE":
            if not to_tag:
                seen.offer = _offer(head, message, link_headers)
        elif method == "ACK":
            seen.ending = _ending(head, status) if _tells(head) else None
        elif method in {"CANCEL", "BYE"}:
            seen.ending = _ending(head, status)
        elif method == "INFO":
            about = _told_to_exchange(head, to_value, call_id)
            if not about:
                return None  # DTMF and the like: as many as a person presses keys
            seen.call_id = about
            seen.ending = Ending(machine="voicemail", links=_links(head, message, link_headers))
        elif method == "REFER":
            replaces = h.parse_replaces(_uri(head.first("refer-to")))
            seen.offer = Offer(
                to=address_of_record(_uri(head.first("refer-to"))),
                caller=Caller(),
                replaces=replaces.call_id if replaces else "",
            )
    elif method == "INVITE" and (status >= 200 or (status == 199 and "reason" in head.headers)):
        seen.ending = _ending(head, status, _links(head, message, link_headers) if status < 300 else ())
    elif method == "INFO":
        return None
    return seen


def _told_to_exchange(head: SipHead, to_value: str, call_id: str) -> str:
    """Return the Call-ID of the call that an INFO asks Exchange UM to write an item for; "" if it asks nothing.

    Lync sends them for all users within one session of its own: who is meant stands in the body.
    """
    if USER_NOTIFICATION in head.first("content-type").lower():
        named = _CALL_ID.search(head.body)
        return named[1].decode("utf-8", "replace") if named and _MISSED.search(head.body) else ""
    for uri in (head.request_uri, _uri(to_value)):
        if _voicemail_uri(parse_uri(uri)):
            return call_id
    return ""


def repeated_offer(message: SipMessage) -> Offer:
    """Return what a response or CANCEL repeats of an INVITE that was not captured."""
    head = parse(message.head)
    links = (f"call:{message.correlation_id}",) if message.correlation_id else ()
    return Offer(to=address_of_record(_uri(head.first("to"))), caller=_caller(head), links=links)


def _uri(value: str) -> str:
    return h.parse_name_addr(value).uri if value else ""


def _caller(head: SipHead) -> Caller:
    return _small(h.caller_identity(head))


@lru_cache(maxsize=4096)  # one object for all legs and attempts of a caller
def _small(who: h.Identity) -> Caller:
    if who.anonymous:
        return Caller(anonymous=True, source=who.source)
    return Caller(who.uri, who.number, who.display_name, source=who.source)


class _Target(NamedTuple):
    """What a Request-URI says."""

    aor: str
    contact_like: bool
    traits: tuple[str, ...]


def _read_target(request_uri: str) -> _Target:
    uri = parse_uri(request_uri)
    traits = []
    if _voicemail_uri(uri) or ("target" in uri.params and "cause" in uri.params):
        traits.append("voicemail")  # Lync; RFC 4458 s.2
    opaque = uri.params.get("opaque", "").lower()
    if opaque.startswith(("app:conf", "app:chat")) or request_uri.lower().startswith("conf:"):
        traits.append("conference")
    if request_uri.lower().startswith(EMERGENCY):
        traits.append("emergency")
    return _Target(address_of_record(uri), _contact_like(uri), tuple(traits))


_cached_target = lru_cache(maxsize=16_384)(_read_target)  # a registered phone is called again and again


def _offer(head: SipHead, message: SipMessage, link_headers: tuple[str, ...]) -> Offer:
    names = head.headers
    request_uri = head.request_uri
    read = _cached_target if len(request_uri) <= CACHED_CHARS else _read_target
    target = read(request_uri)
    to_uri = _uri(names["to"][0])
    body = head.body
    history: tuple[Retarget, ...] = ()
    if "history-info" in names:
        history = tuple(
            Retarget(
                aor=entry.aor,
                index=entry.index,
                cause=entry.cause,
                own_contact=bool(entry.rc or entry.np) and not entry.mp,
                reason=entry.retarget_reason.lower(),
                voicemail="app:voicemail" in entry.uri.lower(),
            )
            for entry in h.parse_history_info(names["history-info"])[:MAX_HISTORY]
        )
    diversions: tuple[Retarget, ...] = ()
    if "diversion" in names:
        found = h.parse_diversions(names["diversion"])[:MAX_HISTORY]
        diversions = tuple(Retarget(aor=d.aor, reason=d.reason.lower()) for d in reversed(found))
    replaces = h.parse_replaces(names["replaces"][0]) if "replaces" in names else None
    caller = _caller(head)
    referred_by = address_of_record(_uri(head.first("referred-by"))) if "referred-by" in names else ""
    links = _links(head, message, link_headers)
    if len(history) > 1 and caller.uri:
        links = (*links, f"history:{caller.uri} {history[0].aor}")
    elif referred_by and caller.uri:
        links = (*links, f"referred:{caller.uri} {referred_by}")
    return Offer(
        to=shared(address_of_record(to_uri)),
        caller=caller,
        target=shared(target.aor),
        contact_like=target.contact_like,
        history=history,
        diversions=diversions,
        referred_by=referred_by,
        replaces=replaces.call_id if replaces else "",
        media=_kinds(body) if body else (),
        traits=_traits(head, target, to_uri),
        links=links,
    )


def _kinds(body: bytes) -> tuple[str, ...]:
    return _one_of(h.media_types(body))


@lru_cache(maxsize=256)  # nearly all are ("audio",)
def _one_of(kinds: tuple[str, ...]) -> tuple[str, ...]:
    return kinds


def _contact_like(uri: SipUri) -> bool:
    """Whether a Request-URI reads as a registered contact: an address, a port, or a client's own marks."""
    host = uri.host
    return bool(
        uri.port
        or host.startswith("[")
        or host.replace(".", "").isdigit()
        or host.endswith(".invalid")  # RFC 7118 s.5: WebSocket clients
        or uri.params.get("opaque", "").lower().startswith("user:epid")  # Lync
        or not uri.params.keys().isdisjoint({"ob", "rinstance", "line", "transport", "alias", "gr"})
    )


def _voicemail_uri(uri: SipUri) -> bool:
    opaque = uri.params.get("opaque", "").lower()
    return opaque.startswith(("app:voicemail", "app:exum"))


def _traits(head: SipHead, target: _Target, to_uri: str) -> tuple[str, ...]:
    """Name what is special about an INVITE."""
    names = head.headers
    found = list(target.traits)
    kind = head.first("content-type").lower()
    if "conf-invite" in kind:
        found.append("conference")
    if kind.startswith("text/"):
        found.append("instant-message")
    if to_uri.lower().startswith(EMERGENCY):
        found.append("emergency")
    if "priority" in names and "psap-callback" in head.first("priority").lower():
        found.append("psap-callback")  # RFC 7090
    if not ANSWERING.isdisjoint(names) and _answers_itself(head):
        found.append("auto-answer")
    if "request-disposition" in names and "no-fork" in head.first("request-disposition").lower():
        found.append("no-fork")  # RFC 3841 s.9.1
    if "applications.acd" in head.first("contact").lower():
        found.append("acd")
    return tuple(found)


EMERGENCY = "urn:service:sos"
"""RFC 5031 s.4.2."""

ANSWERING = frozenset({"answer-mode", "priv-answer-mode", "call-info", "alert-info"})
"""Headers that may tell a phone to answer by itself."""


def _answers_itself(head: SipHead) -> bool:
    return (
        "auto" in head.first("answer-mode").lower()
        or "auto" in head.first("priv-answer-mode").lower()  # RFC 5373
        or "answer-after=0" in head.first("call-info").lower().replace(" ", "")
        or any("alert-autoanswer" in v.lower() or "auto-answer" in v.lower() for v in head.all("alert-info"))
    )


def _links(head: SipHead, message: SipMessage, link_headers: tuple[str, ...]) -> tuple[str, ...]:
    """Name the identifiers of a leg, strongest first: `call:` a Call-ID, others by their header."""
    names = head.headers
    links = []
    if message.correlation_id:
        links.append(f"call:{message.correlation_id}")
    if "session-id" in names:
        pair = sorted(h.parse_session_id(names["session-id"][0]))
        if pair[-1].strip("0"):
            links.append("session:" + "/".join(pair))
    links.extend(f"call:{names[name][0].strip()}" for name in link_headers if names.get(name))
    if "p-charging-vector" in names:
        for part in names["p-charging-vector"][0].split(";"):
            key, _, value = part.partition("=")
            if key.strip().lower() == "icid-value":
                links.append("icid:" + value.strip().strip('"'))
    if "ms-conversation-id" in names:
        links.append("conversation:" + names["ms-conversation-id"][0].strip())
    return tuple(links)


def _tells(head: SipHead) -> bool:
    return "ms-diagnostics-public" in head.headers or "ms-diagnostics" in head.headers


PLAIN = Ending()
"""Of the many that say nothing beyond their status."""


def _ending(head: SipHead, status: int, links: tuple[str, ...] = ()) -> Ending:
    names = head.headers
    says: list[str] = []
    raw: list[str] = []
    for diagnostic in h.parse_diagnostics(head):
        said = DIAGNOSTICS.get(diagnostic.id)
        if said is not None:
            says.append(said)
    for name in ("ms-diagnostics", "ms-diagnostics-public", "ms-client-diagnostics", "reason"):
        raw.extend(names.get(name, ()))
    if "reason" in names:
        for reason in h.parse_reasons(names["reason"]):
            said = of_reason(reason.protocol.upper(), reason.cause, reason.text, on_cancel=not status)
            if said is not None:
                says.append(said)
    dnd = blocked = False
    machine = ""
    contacts: tuple[str, ...] = ()
    if status >= 300:
        phrase = head.reason_phrase.lower()
        warnings = h.parse_warnings(names["warning"]) if "warning" in names else []
        dnd = "disturb" in phrase or any(w.code == 391 or "disturb" in w.text.lower() for w in warnings)
        blocked = status in {433, 607, 608} or (status == 403 and ("block" in phrase or bool(warnings)))
        if status < 400:
            contacts = tuple(_contact(value) for value in head.all("contact"))[:MAX_HISTORY]
    elif 200 <= status < 300 and "contact" in names:
        machine = _machine(names["contact"][0])
    if not (says or raw or links or dnd or blocked or machine or contacts):
        return PLAIN
    return Ending(
        says=tuple(says),
        dnd=dnd,
        blocked=blocked,
        machine=machine,
        contacts=contacts,
        raw=", ".join(raw)[:EVIDENCE_CHARS],
        links=links,
    )


def _contact(value: str) -> str:
    uri = _uri(value)
    parsed = parse_uri(uri)
    if _voicemail_uri(parsed) or ("target" in parsed.params and "cause" in parsed.params):
        return "voicemail"
    return address_of_record(parsed)


def _machine(contact: str) -> str:
    """Read RFC 3840 s.10.14 (actor) and s.10.2 (automata) of the Contact of a 2xx."""
    lowered = contact.lower()
    if "opaque=app:voicemail" in lowered or "opaque=app:exum" in lowered:
        return "voicemail"
    if "automata" not in lowered and "actor" not in lowered:
        return ""
    tags = h.feature_tags(contact)
    actor = tags.get("actor", "").lower()
    if "msg-taker" in actor:
        return "voicemail"
    if "attendant" in actor or "applications.acd" in lowered:
        return "attendant"
    automata = tags.get("automata")
    if automata is not None and automata.lower() != "false":
        return "voicemail"
    return ""
