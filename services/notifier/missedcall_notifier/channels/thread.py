"""Which mails a mail program shows as one conversation: those about calls of one caller to one callee.

Rule 1: a function of the fact's two parties, so that a mail needs no knowledge of those before it.
Rule 2: what has no caller that could be told from others (anonymous, unknown) is a conversation of its own.
Rule 3: most programs go by References (RFC 5322 s.3.6.4), to a message that need not exist. Outlook and Exchange
        go by Thread-Index and Thread-Topic (MS-OXOMSG 2.2.1.2, 2.2.1.3): the id in the index names it.
"""

import base64
import uuid

from missedcall_notifier.delivery import name_of
from missedcall_notifier.series import identity
from missedcall_schemas.records import MissedCall

_BEGAN = bytes.fromhex("01d5c03669")
"""The upper five bytes of the FILETIME of 1 January 2020: a conversation's index begins with a time, and ours is
the same for every mail of it."""


def thread_headers(fact: MissedCall, domain: str, answers: str = "") -> list[tuple[str, str]]:
    """Return the headers that join mails.

    Args:
        fact: whose parties count.
        domain: right-hand side of our message ids.
        answers: Message-ID of the notice that this one corrects or goes on from; "" if there is none.
    """
    caller = identity(fact.caller)
    headers = [("In-Reply-To", answers)] if answers else []
    if not caller:
        return [*headers, ("References", answers)] if answers else []
    name = name_of("thread", fact.callee.encode("utf-8", "replace").decode(), caller)
    root = f"<{name}@{domain}>"
    index = b"\x01" + _BEGAN + uuid.UUID(name).bytes
    return [
        *headers,
        ("References", f"{root} {answers}".rstrip()),
        ("Thread-Topic", caller),
        ("Thread-Index", base64.b64encode(index).decode()),
    ]
