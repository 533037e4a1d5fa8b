"""What an answer of Microsoft Graph means.

Sources: "Microsoft Graph error responses and resource types", which lists the statuses and the basic codes, and
the ResponseCodes of Exchange (MS-OXWSCDATA), which Graph passes on for mailboxes.

Rule 1: the innermost code that we know decides, then the outer ones, then the status.
Rule 2: only what says that the request was refused before anything was stored is certain. All else may have
        been said after the store, and is uncertain. To be uncertain costs one search.
Rule 3: a status without Graph's error comes from something in front of it, which may have lost an answer.
"""

import msgspec
from msgspec import Struct

from missedcall_notifier.failure import Failed, Failure

from .exchange_answers import BY_CODE, SETTLE_S

CODE_LIMIT = 64
"""Characters of a code; longer ones are none."""

DEPTH_LIMIT = 5
"""Errors within errors that are looked at. Graph nests two or three."""


class Answer(Struct, frozen=True):
    """How far a request came."""

    sent: bool = False
    """Whether its first byte had left."""
    status: int = 0
    """HTTP; 0: there was no answer."""
    codes: tuple[str, ...] = ()
    """Of Graph's error, the outermost first; () if the body holds none."""
    asked_s: float | None = None
    """Seconds that we were asked to wait (Retry-After)."""


F = Failure
# fmt: off
STATUSES: tuple[tuple[range, Failure, Failure], ...] = (
    # status            with Graph's error      without: a proxy's, or no Graph there
    (range(300, 400), F.CHANNEL_DOWN,         F.CHANNEL_DOWN),
    (range(400, 401), F.PERMANENT_ITEM,       F.UNCERTAIN),
    (range(401, 402), F.CHANNEL_DOWN,         F.CHANNEL_DOWN),
    (range(402, 403), F.CHANNEL_DOWN,         F.CHANNEL_DOWN),        # a metered API has not been paid for
    (range(403, 404), F.CHANNEL_DOWN,         F.CHANNEL_DOWN),
    (range(404, 405), F.PERMANENT_RECIPIENT,  F.CHANNEL_DOWN),
    (range(405, 406), F.CHANNEL_DOWN,         F.CHANNEL_DOWN),
    (range(406, 407), F.PERMANENT_ITEM,       F.CHANNEL_DOWN),
    (range(407, 408), F.CHANNEL_DOWN,         F.CHANNEL_DOWN),
    (range(409, 410), F.TRANSIENT,            F.UNCERTAIN),           # the mailbox's state, and that passes
    (range(410, 411), F.PERMANENT_RECIPIENT,  F.CHANNEL_DOWN),
    (range(411, 412), F.PERMANENT_ITEM,       F.CHANNEL_DOWN),
    (range(412, 413), F.TRANSIENT,            F.UNCERTAIN),
    (range(413, 414), F.PERMANENT_ITEM,       F.PERMANENT_ITEM),
    (range(415, 417), F.PERMANENT_ITEM,       F.CHANNEL_DOWN),
    (range(422, 423), F.PERMANENT_ITEM,       F.UNCERTAIN),
    (range(423, 424), F.SLOW,                 F.UNCERTAIN),           # locked: a person unlocks it
    (range(429, 430), F.THROTTLED,            F.THROTTLED),
    (range(501, 502), F.CHANNEL_DOWN,         F.CHANNEL_DOWN),
    (range(507, 508), F.SLOW,                 F.UNCERTAIN),           # quota
    (range(509, 510), F.THROTTLED,            F.THROTTLED),
    (range(1000),  F.UNCERTAIN,            F.UNCERTAIN),           # 408, 500, 502, 503, 504, ...
)
"""The first row that matches wins."""

ROWS: tuple[tuple[tuple[str, ...], Failure], ...] = (
    # our application, or its permissions
    (("unauthenticated", "InvalidAuthenticationToken", "AuthenticationError", "CompactToken",
      "Authorization_IdentityNotFound", "OrganizationFromTenantGuidNotFound", "accessDenied",
      "Authorization_RequestDenied", "notAllowed", "provisioningNotAllowed", "notSupported"), F.CHANNEL_DOWN),
    (("activityLimitReached", "throttledRequest", "TooManyRequests"), F.THROTTLED),
    # throttling of one mailbox ("Outlook service limits" are counted per application and mailbox): others go on
    (("ApplicationThrottled", "MailboxConcurrency"), F.TRANSIENT),
    # it passes by itself, and nothing was stored
    (("resourceModified", "entityTagDoesNotMatch", "ErrorIrresolvableConflict", "resourceBeingProvisioned",
      "serviceReadOnly"), F.TRANSIENT),
    # it passes when a person acts: full, or out of reach by an application policy
    (("quotaLimitReached", "accessRestricted", "extensionError"), F.SLOW),
    # no such mailbox, or none in Exchange Online
    (("itemNotFound", "ResourceNotFound", "Request_ResourceNotFound", "ErrorInvalidUser",
      "MailboxNotEnabledForRESTAPI", "MailboxNotSupportedForRESTAPI", "MailboxNotHostedInExchangeOnline"),
     F.PERMANENT_RECIPIENT),
    # our mistake
    (("invalidRequest", "invalidRange", "nameAlreadyExists", "malwareDetected", "BadRequest",
      "RequestBodyRead", "UnableToDeserializePostBody", "ErrorInvalidProperty", "ErrorPropertyValidationFailure",
      "propertyNotUpdateable", "invalidParameterFormat", "invalidQueryOption", "invalidPath",
      "invalidAcceptType", "parameterIsTooLong", "maxQueryLengthExceeded", "ErrorInvalidUrlQuery",
      "ErrorInvalidUrlQueryFilter", "syncStateNotFound", "resyncRequired"), F.PERMANENT_ITEM),
    # said of what failed in the middle
    (("generalException", "serviceNotAvailable", "UnknownError", "InternalServerError",
      "ErrorInternalServerError", "ErrorInternalServerTransientError"), F.UNCERTAIN),
)
# fmt: on
"""Codes of Graph; those of Exchange are in `exchange_answers`."""

OF_ONE_MAILBOX = frozenset({"ApplicationThrottled", "MailboxConcurrency"})
"""Codes of a pause that one mailbox asks for."""

DENIED = frozenset({"ErrorAccessDenied", "accessDenied", "Authorization_RequestDenied"})
"""Codes about one mailbox, if we have been let into another: a scope leaves some out."""

GONE = frozenset({"ErrorItemNotFound", "itemNotFound"})
"""Of an item that we have just found: the user was faster."""

_MEANINGS = BY_CODE | {code: failure for codes, failure in ROWS for code in codes}
if len({code for codes, _ in ROWS for code in codes}) != sum(len(codes) for codes, _ in ROWS):
    raise AssertionError("two rows for one code")


def read_codes(body: bytes) -> tuple[str, ...]:
    """Return the codes of Graph's error, the outermost first; () if the body is none."""
    try:
        error = msgspec.json.decode(body)["error"]
    except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError, RecursionError):
        return ()
    codes: list[str] = []
    for _ in range(DEPTH_LIMIT):
        if not isinstance(error, dict):
            break
        code = error.get("code")
        if isinstance(code, str) and code.isascii() and code.isidentifier() and len(code) <= CODE_LIMIT:
            codes.append(code)
        error = error.get("innerError", error.get("innererror"))
    return tuple(codes)


def retry_after_s(value: str) -> float | None:
    """Return the seconds of a Retry-After header; None if it says none. Graph writes no dates there."""
    return float(value) if value.isascii() and value.isdigit() and len(value) <= 9 else None


def succeeded(step: str, answer: Answer) -> bool:
    """Whether a request was carried out: each has one status that says so."""
    return answer.status == {"create": 201, "remove": 201}.get(step, 200)


def classify(answer: Answer, *, welcome: bool) -> Failure:
    """Return what a request that failed has come to.

    Args:
        answer: as far as there is one.
        welcome: whether we have been let into some mailbox before.
    """
    if not answer.sent:
        return Failure.CHANNEL_DOWN
    if not answer.status:
        return Failure.UNCERTAIN
    if welcome and answer.status == 403 and DENIED.intersection(answer.codes):
        return Failure.SLOW
    for code in reversed(answer.codes):
        if code in _MEANINGS:
            return _MEANINGS[code]
    known, other = next(row[1:] for row in STATUSES if answer.status in row[0])
    return known if answer.codes else other


def failed(step: str, answer: Answer, kind: str, *, welcome: bool) -> Failed:
    """Return the report on a request that failed.

    Args:
        step: of the request.
        answer: as far as there is one.
        kind: the error's class, for an attempt without an answer.
        welcome: as `classify` has it.
    """
    failure = classify(answer, welcome=welcome)
    if failure is Failure.UNCERTAIN and step in {"find", "read"}:
        failure = Failure.TRANSIENT  # it changes nothing
    code = next((code for code in reversed(answer.codes) if code in _MEANINGS), "")
    words = [step, str(answer.status) if answer.status else kind, code or "".join(answer.codes[:1])]
    asked_s = answer.asked_s
    if failure is Failure.UNCERTAIN:
        asked_s = max(asked_s or 0.0, SETTLE_S)
    return Failed(failure, " ".join(filter(None, words)), asked_s)
