"""What a rule may know of one captured message.

Rule 1: a message is parsed once, here; whatever a rule reads is a field of `Seen`.
Rule 2: what only some messages carry is in `offer` (initial INVITE) or `ending` (CANCEL, BYE, finals), so
        that the many plain ones stay small: a hundred thousand calls ring at the same time.
Rule 3: `Seen` is part of the state rows (`rows.py`): fields are only ever appended, with defaults.
"""

import re
from functools import lru_cache
from typing import Final, final

from mypy_extensions import mypyc_attr

from missedcall_common.sip import headers as h
from missedcall_common.sip.field import Field
from missedcall_common.sip.grammar import split_name_addr
from missedcall_common.sip.identity import Identity, caller_identity
from missedcall_common.sip.message import SipError, SipHead, parse
from missedcall_common.sip.names import (
    ALERT_INFO,
    ANSWER_MODE,
    CALL_ID,
    CALL_INFO,
    CONTACT,
    CONTENT_TYPE,
    DIVERSION,
    FROM,
    HISTORY_INFO,
    MS_CONVERSATION_ID,
    MS_DIAGNOSTICS,
    MS_DIAGNOSTICS_PUBLIC,
    P_CHARGING_VECTOR,
    PRIORITY,
    PRIV_ANSWER_MODE,
    REASON,
    REFERRED_BY,
    REPLACES,
    REQUEST_DISPOSITION,
    SESSION_ID,
    TO,
)
from missedcall_common.sip.reason import DIAGNOSTIC_PLACES
from missedcall_common.sip.sdp import USER_NOTIFICATION, media_types
from missedcall_common.sip.texts import TEXTS
from missedcall_common.sip.transaction import branches, cseq
from missedcall_common.sip.uri import CACHED_CHARS, SipUri, address_of_record, parse_uri
from missedcall_schemas.records import SipMessage

from .causes import DIAGNOSTICS, of_reason

USED_METHODS: Final = {method: method for method in ("INVITE", "ACK", "CANCEL", "BYE", "REFER", "INFO")}
"""Only these can change a verdict; everything else is noise (row 50)."""

EVIDENCE_CHARS: Final = 200
"""Of a Reason or ms-diagnostics value kept as evidence. Less cuts AppUri; more keeps what a sender invents."""

MAX_HISTORY: Final = 16
"""Entries of a History-Info or Diversion chain that are kept. RFC 7044 has no bound; real chains have < 8."""


SILENT_MEDIA: Final = frozenset(
    {"message", "x-ms-message", "applicationsharing", "x-applicationsharing", "data", "x-data", "application"}
)
"""Media of a session that no phone rings for (RFC 4975 s.8; row 46)."""

_MISSED: Final = re.compile(rb"<Event\s[^>]*type=[\"']missed[\"']", re.IGNORECASE)
_CALL_ID: Final = re.compile(rb"<CallId>\s*([^<\s]{1,256})\s*</CallId>", re.IGNORECASE)


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
    status = head.status
    method = USED_METHODS.get(head.method)
    if method is None:
        return None
    known = head.known
    id_field, from_, to = known[CALL_ID], known[FROM], known[TO]
    call_id = (id_field.value if id_field is not None else "") or message.call_id
    branch, parent, vias = branches(head)
    number, _ = cseq(head)
    if not call_id or from_ is None or not from_.value or to is None or not to.value or not vias:
        missing = "Call-ID" if not call_id else "From, To or Via"
        raise SipError(f"no {missing} in a {status or method}: expected the fields of RFC 3261 s.8.1.1")
    to_tag = to.tag()
    offer: Offer | None = None
    ending: Ending | None = None
    if status:
        if method == "INVITE":
            if status >= 200:
                ending = _ending(head, status, _links(head, message, link_headers) if status < 300 else ())
            elif status == 199 and known[REASON] is not None:
                ending = _ending(head, status, _links(head, message, link_headers))
        elif method == "INFO":
            return None
    elif method == "INVITE":
        if not to_tag:
            offer = _offer(head, message, link_headers)
    elif method == "ACK":
        if known[MS_DIAGNOSTICS_PUBLIC] is not None or known[MS_DIAGNOSTICS] is not None:
            ending = _ending(head, 0, ())
    elif method in ("CANCEL", "BYE"):
        ending = _ending(head, 0, ())
    elif method == "INFO":
        call_id = _told_to_exchange(head, to.value, call_id)
        if not call_id:
            return None  # DTMF and the like: as many as a person presses keys
        ending = Ending(machine="voicemail", links=_links(head, message, link_headers))
    else:
        refer_to = _uri(head.first("refer-to"))
        replaces = h.parse_replaces(refer_to)
        offer = Offer(address_of_record(refer_to), Caller(), replaces=replaces.call_id if replaces else "")
    return Seen(
        message.captured_ms,
        method,
        status,
        call_id,
        number,
        branch,
        parent,
        vias,
        from_.tag(),
        to_tag,
        TEXTS.one(message.src),
        TEXTS.one(message.dst),
        offer,
        ending,
        head.request_uri,
    )


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
    return split_name_addr(value)[1] if value else ""


def _caller(head: SipHead) -> Caller:
    return _cached_caller(caller_identity(head))


def _caller_of(who: Identity) -> Caller:
    if who.anonymous:
        return Caller("", "", "", True, who.source)
    return Caller(who.uri, who.number, who.display_name, False, who.source)


_cached_caller: Final = lru_cache(maxsize=4096)(
    _caller_of
)  # one object for all legs and attempts of a caller


@final
@mypyc_attr(acyclic=True)
class _Target:
    """What a Request-URI says."""

    __slots__ = ("aor", "contact_like", "traits")

    def __init__(self, aor: str, contact_like: bool, traits: list[str]) -> None:
        self.aor: Final = aor
        self.contact_like: Final = contact_like
        self.traits: Final = traits


def _read_target(request_uri: str) -> _Target:
    uri = parse_uri(request_uri)
    params = uri.params
    traits: list[str] = []
    if ("target" in params and "cause" in params) or _voicemail_uri(uri):
        traits.append("voicemail")  # Lync; RFC 4458 s.2
    opaque = params["opaque"].lower() if "opaque" in params else ""
    if opaque.startswith(("app:conf", "app:chat")) or uri.scheme == "conf":
        traits.append("conference")
    if uri.scheme == "urn" and request_uri.lower().startswith(EMERGENCY):
        traits.append("emergency")
    return _Target(TEXTS.one(address_of_record(uri)), _contact_like(uri), traits)


_cached_target: Final = lru_cache(maxsize=4_096)(_read_target)  # a registered phone is called again and again


def _offer(head: SipHead, message: SipMessage, link_headers: tuple[str, ...]) -> Offer:
    known = head.known
    request_uri = head.request_uri
    target = _cached_target(request_uri) if len(request_uri) <= CACHED_CHARS else _read_target(request_uri)
    to_uri = _uri(head.first("to"))
    body = head.body
    caller = _caller(head)
    history = _history(head.all("history-info")) if known[HISTORY_INFO] is not None else ()
    links = _links(head, message, link_headers)
    referred_by = address_of_record(_uri(head.first("referred-by"))) if known[REFERRED_BY] is not None else ""
    if len(history) > 1 and caller.uri:
        links = (*links, f"history:{caller.uri} {history[0].aor}")
    elif referred_by and caller.uri:
        links = (*links, f"referred:{caller.uri} {referred_by}")
    replaces = h.parse_replaces(head.first("replaces")) if known[REPLACES] is not None else None
    return Offer(
        TEXTS.one(address_of_record(to_uri)),
        caller,
        target.aor,
        target.contact_like,
        history,
        _diversions(head.all("diversion")) if known[DIVERSION] is not None else (),
        referred_by,
        replaces.call_id if replaces else "",
        _kinds(body) if body else (),
        _traits(head, target, to_uri),
        links,
    )


def _history(values: list[str]) -> tuple[Retarget, ...]:
    found: list[Retarget] = []
    for entry in h.parse_history_info(values)[:MAX_HISTORY]:
        own_contact = bool(entry.rc or entry.np) and not entry.mp
        voicemail = "app:voicemail" in entry.uri.lower()
        found.append(
            Retarget(entry.aor, entry.index, entry.cause, own_contact, entry.retarget_reason, voicemail)
        )
    return tuple(found)


def _diversions(values: list[str]) -> tuple[Retarget, ...]:
    found = [Retarget(each.aor, reason=each.reason) for each in h.parse_diversions(values)[:MAX_HISTORY]]
    found.reverse()
    return tuple(found)


def _kinds(body: bytes) -> tuple[str, ...]:
    kinds = media_types(body)
    return AUDIO if kinds == AUDIO else kinds


AUDIO: Final = ("audio",)
"""Nearly all of them: one object."""

_CONTACT_MARKS: Final = ("ob", "rinstance", "line", "transport", "alias", "gr")


def _contact_like(uri: SipUri) -> bool:
    """Whether a Request-URI reads as a registered contact: an address, a port, or a client's own marks."""
    host = uri.host
    if uri.port or host.startswith("[") or host.replace(".", "").isdigit():
        return True
    if host.endswith(".invalid"):  # RFC 7118 s.5: WebSocket clients
        return True
    params = uri.params
    if params:
        for mark in _CONTACT_MARKS:
            if mark in params:
                return True
        return "opaque" in params and params["opaque"].lower().startswith("user:epid")  # Lync
    return False


def _voicemail_uri(uri: SipUri) -> bool:
    params = uri.params
    return "opaque" in params and params["opaque"].lower().startswith(("app:voicemail", "app:exum"))


def _traits(head: SipHead, target: _Target, to_uri: str) -> tuple[str, ...]:
    """Name what is special about an INVITE."""
    known = head.known
    found = target.traits.copy()
    content_type = known[CONTENT_TYPE]
    if content_type is not None:
        kind = content_type.lowered()
        if "conf-invite" in kind:
            found.append("conference")
        if kind.startswith("text/"):
            found.append("instant-message")
    if to_uri[:15].lower() == EMERGENCY:
        found.append("emergency")
    if _says(known[PRIORITY], "psap-callback"):
        found.append("psap-callback")  # RFC 7090
    if _answers_itself(head):
        found.append("auto-answer")
    if _says(known[REQUEST_DISPOSITION], "no-fork"):
        found.append("no-fork")  # RFC 3841 s.9.1
    if _says(known[CONTACT], "applications.acd"):
        found.append("acd")
    return tuple(found)


EMERGENCY: Final = "urn:service:sos"
"""RFC 5031 s.4.2."""


def _says(field: Field | None, word: str) -> bool:
    return field is not None and word in field.lowered()


def _answers_itself(head: SipHead) -> bool:
    """Whether a header tells the phone to answer by itself."""
    known = head.known
    if _says(known[ANSWER_MODE], "auto") or _says(known[PRIV_ANSWER_MODE], "auto"):  # RFC 5373
        return True
    call_info, alert_info = known[CALL_INFO], known[ALERT_INFO]
    if call_info is not None and "answer-after=0" in call_info.lowered().replace(" ", ""):
        return True
    if alert_info is not None:
        for value in head.all_of(alert_info):
            lowered = value.lower()
            if "alert-autoanswer" in lowered or "auto-answer" in lowered:
                return True
    return False


def _links(head: SipHead, message: SipMessage, link_headers: tuple[str, ...]) -> tuple[str, ...]:
    """Name the identifiers of a leg, strongest first: `call:` a Call-ID, others by their header."""
    known = head.known
    links: list[str] = []
    correlation_id = message.correlation_id
    if correlation_id:
        links.append(f"call:{correlation_id}")
    session_id, charging, conversation = (
        known[SESSION_ID],
        known[P_CHARGING_VECTOR],
        known[MS_CONVERSATION_ID],
    )
    if session_id is not None:
        pair = sorted(h.parse_session_id(session_id.value))
        if pair[-1].strip("0"):
            links.append("session:" + "/".join(pair))
    for name in link_headers:
        field = head.field(name)
        if field is not None:
            links.append(f"call:{field.value}")
    if charging is not None:
        for part in charging.value.split(";"):
            key, _, value = part.partition("=")
            if key.strip().lower() == "icid-value":
                links.append("icid:" + value.strip().strip('"'))
    if conversation is not None:
        links.append("conversation:" + conversation.value)
    return tuple(links)


PLAIN: Final = Ending()
"""Of the many that say nothing beyond their status."""


def _ending(head: SipHead, status: int, links: tuple[str, ...]) -> Ending:
    known = head.known
    says: list[str] = []
    raw: list[str] = []
    for place in DIAGNOSTIC_PLACES:
        field = known[place]
        if field is not None:
            raw += head.all_of(field)
    if raw:
        for diagnostic in h.parse_diagnostics(head):
            said = DIAGNOSTICS.get(diagnostic.id)
            if said is not None:
                says.append(said)
    reasons, contact = known[REASON], known[CONTACT]
    if reasons is not None:
        values = head.all_of(reasons)
        raw += values
        for reason in h.parse_reasons(values):
            said = of_reason(reason.protocol, reason.cause, reason.text, on_cancel=not status)
            if said is not None:
                says.append(said)
    dnd = blocked = False
    machine = ""
    contacts: tuple[str, ...] = ()
    if status >= 300:
        phrase = head.reason_phrase.lower()
        warnings = h.parse_warnings(head.all("warning"))
        dnd = "disturb" in phrase
        for warning in warnings:
            if warning.code == 391 or "disturb" in warning.text.lower():
                dnd = True
        blocked = status in (433, 607, 608) or (status == 403 and ("block" in phrase or bool(warnings)))
        if status < 400 and contact is not None:
            contacts = tuple([_contact(value) for value in head.all_of(contact)[:MAX_HISTORY]])
    elif 200 <= status < 300 and contact is not None:
        machine = _machine(contact.value)
    if not (says or raw or links or dnd or blocked or machine or contacts):
        return PLAIN
    return Ending(tuple(says), dnd, blocked, machine, contacts, ", ".join(raw)[:EVIDENCE_CHARS], links)


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
