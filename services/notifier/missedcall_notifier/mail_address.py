"""Mail addresses that we are willing to send to, and those that a pattern makes of a callee's address.

Rule 1: pure. ASCII, no quoting, nothing to which SMTP or a relay's routing syntax (`user%host`, `!`) gives a
        second meaning: parts of these addresses come from the wire.
"""

import re
from collections.abc import Sequence

_LOCAL_PART = re.compile(r"[A-Za-z0-9_+'-]+(?:\.[A-Za-z0-9_+'-]+)*")
_HOST = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)
_LOCAL_PART_LIMIT = 64  # RFC 5321 s.4.5.3.1.1


def by_pattern(callee: str, pattern: str, hosts: Sequence[str]) -> str:
    """Return the mail address that `pattern` makes of an address of record; "" if it makes none."""
    scheme, _, rest = callee.partition(":")
    user, _, host = rest.partition("@")
    if not pattern or scheme not in {"sip", "sips", "tel"} or (hosts and host not in hosts):
        return ""
    if len(user) > _LOCAL_PART_LIMIT or not _LOCAL_PART.fullmatch(user):
        return ""
    if "{host}" in pattern and not _HOST.fullmatch(host):
        return ""
    return pattern.replace("{user}", user).replace("{host}", host)


def is_mail_address(text: str) -> bool:
    """Whether `text` is a mail address that we are willing to send to: ASCII, no quoting, no source route."""
    local, _, host = text.rpartition("@")
    return (
        len(local) <= _LOCAL_PART_LIMIT
        and _LOCAL_PART.fullmatch(local) is not None
        and _HOST.fullmatch(host.lower()) is not None
    )
