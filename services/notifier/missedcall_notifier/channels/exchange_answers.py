"""What an answer of Exchange means. No library is asked: the status and the ResponseCode say it.

Rule 1: a code that says that the request was refused before anything was stored is a row of its own; any
        other may have been said after the store, and is uncertain. To be uncertain costs one search.
Rule 2: a status without SOAP comes from something in front of Exchange, which may have lost an answer.
"""

import re

from msgspec import Struct

from missedcall_notifier.failure import Failed, Failure

SETTLE_S = 60.0
"""Seconds before anybody looks for what an attempt without an end may have stored. Less: a server that is slow
stores it after we have looked, and the user sees two. More: what was not stored is late by this."""

_CODE = re.compile(rb"<(?:\w{1,9}:)?ResponseCode(?:\s[^<>]{0,200})?>\s{0,9}(Error\w{1,100})\s{0,9}</")
_BACK_OFF = re.compile(
    rb"<(?:\w{1,9}:)?Value\s[^<>]{0,200}?Name=[\"']BackOffMilliseconds[\"'][^<>]{0,200}>\s{0,9}(\d{1,12})\s{0,9}</"
)
_SOAP = re.compile(rb"<(?:\w{1,9}:)?Envelope\s")


class Answer(Struct, frozen=True):
    """How far a request came."""

    sent: bool = False
    """Whether its first byte had left."""
    status: int = 0
    """HTTP; 0: there was no answer, or not all of it."""
    soap: bool = False
    code: str = ""
    """The first ResponseCode that is an error's; "" if there is none."""
    asked_s: float | None = None
    """Seconds that we were asked to wait, by BackOffMilliseconds or Retry-After."""


# fmt: off
STATUSES: tuple[tuple[range, Failure], ...] = (
    (range(300, 400), Failure.CHANNEL_DOWN),  # to a login page, an error page, https:
    (range(401, 402), Failure.CHANNEL_DOWN),
    (range(403, 406), Failure.CHANNEL_DOWN),  # no right to the directory; no EWS there; no POST
    (range(407, 408), Failure.CHANNEL_DOWN),
    (range(413, 414), Failure.PERMANENT_ITEM),
    (range(415, 416), Failure.CHANNEL_DOWN),
    (range(429, 430), Failure.THROTTLED),
    (range(100, 600), Failure.UNCERTAIN),
)

ROWS: tuple[tuple[tuple[str, ...], Failure], ...] = (
    (("ErrorServerBusy", "ErrorTooManyObjectsOpened", "ErrorExceededConnectionCount",
      "ErrorExceededFindCountLimit"), Failure.THROTTLED),
    # the directory, or the way to the mailbox: nothing was opened
    (("ErrorADUnavailable", "ErrorADOperation", "ErrorADSessionFilter", "ErrorMailboxMoveInProgress",
      "ErrorNoRespondingCASInDestinationSite", "ErrorInsufficientResources", "ErrorNotEnoughMemory",
      "ErrorPublicFolderServerNotFound"), Failure.TRANSIENT),
    # it passes when a person acts
    (("ErrorQuotaExceeded", "ErrorAccountDisabled"), Failure.SLOW),
    (("ErrorNonExistentMailbox", "ErrorNonPrimarySmtpAddress", "ErrorMissingEmailAddress",
      "ErrorInvalidSmtpAddress", "ErrorInvalidUserPrincipalName", "ErrorMailRecipientNotFound",
      "ErrorCannotFindUser", "ErrorInvalidMailbox", "ErrorMailboxConfiguration", "ErrorFolderNotFound",
      "ErrorCreateItemAccessDenied"), Failure.PERMANENT_RECIPIENT),
    # our mistake
    (("ErrorSchemaValidation", "ErrorInvalidRequest", "ErrorInvalidOperation", "ErrorInvalidArgument",
      "ErrorItemSavePropertyError", "ErrorItemPropertyRequestFailed", "ErrorInvalidPropertySet",
      "ErrorInvalidPropertyRequest", "ErrorInvalidExtendedProperty", "ErrorInvalidExtendedPropertyValue",
      "ErrorUnsupportedMapiPropertyType", "ErrorUnsupportedPathForQuery", "ErrorUnsupportedQueryFilter",
      "ErrorInvalidRestriction", "ErrorRestrictionTooLong", "ErrorMessageDispositionRequired",
      "ErrorMessageSizeExceeded", "ErrorCorruptData", "ErrorInvalidValueForProperty",
      "ErrorObjectTypeChanged", "ErrorMimeContentInvalid", "ErrorInvalidIdMalformed"), Failure.PERMANENT_ITEM),
    # our account
    (("ErrorImpersonationDenied", "ErrorImpersonationFailed", "ErrorImpersonateUserDenied", "ErrorAccessDenied",
      "ErrorPasswordExpired", "ErrorPasswordChangeRequired", "ErrorInvalidServerVersion",
      "ErrorIncorrectSchemaVersion", "ErrorInvalidSchemaVersionForMailboxVersion",
      "ErrorInvalidExchangeImpersonationHeaderData", "ErrorTokenSerializationDenied",
      "ErrorCallerIsInvalidADAccount", "ErrorInvalidClientAccessTokenRequest"), Failure.CHANNEL_DOWN),
)
# fmt: on
"""ResponseCodes (MS-OXWSCDATA, ResponseCodeType) with which nothing was stored."""

DENIED = frozenset({"ErrorImpersonateUserDenied", "ErrorAccessDenied", "ErrorImpersonationDenied"})
"""Codes about one mailbox, if the account has been let into another: a management scope leaves some out."""

BY_CODE = {code: failure for codes, failure in ROWS for code in codes}
if len(BY_CODE) != sum(len(codes) for codes, _ in ROWS):
    raise AssertionError("two rows for one code")


def read_answer(status: int, body: bytes, retry_after_s: float | None = None) -> Answer:
    """Return what an answer says. Only 200 and 500 carry SOAP (SOAP 1.1 s.6.2)."""
    soap = status in {200, 500} and _SOAP.search(body) is not None
    code = _CODE.search(body) if soap else None
    back_off = _BACK_OFF.search(body) if soap else None
    asked_s = int(back_off[1]) / 1000.0 if back_off else retry_after_s
    return Answer(True, status, soap, code[1].decode() if code else "", asked_s)


def classify(answer: Answer, *, welcome: bool) -> Failure:
    """Return what a request that failed has come to.

    Args:
        answer: as far as there is one.
        welcome: whether the account has been let into some mailbox before.
    """
    if not answer.sent:
        return Failure.CHANNEL_DOWN
    if answer.code:
        failure = BY_CODE.get(answer.code, Failure.UNCERTAIN)
        return Failure.SLOW if welcome and answer.code in DENIED else failure
    if answer.soap or not answer.status:
        return Failure.UNCERTAIN
    return next((failure for statuses, failure in STATUSES if answer.status in statuses), Failure.UNCERTAIN)


def failed(step: str, answer: Answer, kind: str, *, welcome: bool) -> Failed:
    """Return the report on a request that failed.

    Args:
        step: `find`, `create`, `mark` or `remove`.
        answer: as far as there is one.
        kind: the error's class, for an attempt without an answer.
        welcome: as `classify` has it.
    """
    failure = classify(answer, welcome=welcome)
    if failure is Failure.UNCERTAIN and step == "find":
        failure = Failure.TRANSIENT  # it changes nothing
    status = str(answer.status) if answer.status else ""
    asked_s = answer.asked_s
    if failure is Failure.UNCERTAIN:
        asked_s = max(asked_s or 0.0, SETTLE_S)
    return Failed(failure, f"{step} {answer.code or status or kind}", asked_s)
