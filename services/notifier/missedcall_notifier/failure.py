"""What one attempt can come to: sent, or failed in one of eight ways.

Rule 1: the set of failures is closed. A channel translates whatever its protocol says into one of them, in
        one table, and nothing behind the channel ever looks at a status code again.
Rule 2: only `UNCERTAIN` means that the target may have it. A channel that cannot tell must say so.
"""

from enum import StrEnum

from msgspec import Struct


class Failure(StrEnum):
    """Why an attempt did not deliver; what happens next is a pure function of it (`retry.next_delay_s`)."""

    TRANSIENT = "transient"
    """The target is there and says "not now": HTTP 5xx, SMTP 4yz."""
    THROTTLED = "throttled"
    """We are too fast for the target: HTTP 429, SMTP 4.7.x; it may say for how long."""
    SLOW = "slow"
    """It passes, but in hours: mailbox full, a policy that a person has to change."""
    PERMANENT_RECIPIENT = "permanent-recipient"
    """This recipient will never take it: no such mailbox, endpoint gone."""
    PERMANENT_ITEM = "permanent-item"
    """This notice will never be taken, by nobody: too large, malformed; as a rule our mistake."""
    CHANNEL_DOWN = "channel-down"
    """The channel takes nothing from us: unreachable, credentials refused, certificate wrong. The notice is not
    to blame and loses nothing by it."""
    GONE = "gone"
    """The channel wants nothing from us ever again (HTTP 410). It is not asked again before the operator says so;
    the notice is not to blame and waits. The detail is the channel's mark: what the operator has to change."""
    UNCERTAIN = "uncertain"
    """The target may or may not have it: the connection was lost after the last byte, before the answer."""


class Sent(Struct, frozen=True):
    """The target took responsibility for the notice."""

    ref: str = ""
    """What the target calls it (queue id, status), if it says; bounded, no personal data."""


class Failed(Struct, frozen=True):
    """The target did not, or may not have."""

    failure: Failure
    detail: str = ""
    """Where it failed and with which code (`rcpt 550 5.1.1`): no address, no free text of the target."""
    asked_s: float | None = None
    """Seconds that the target asked us to wait; None if it did not say."""


Report = Sent | Failed
