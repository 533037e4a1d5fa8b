"""Standard Webhooks 1.0 signatures, version 1: HMAC-SHA256 over `id.timestamp.body`.

Rule 1: every secret signs, so that a receiver which knows the old or the new one accepts the call.
Rule 2: the id is the delivery id and the body a function of the fact: both are the same on every attempt.
        The timestamp is the attempt's, because receivers refuse what is five minutes old.
"""

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"

SECRET_BYTES = range(24, 65)
"""Standard Webhooks, "Signature scheme": between 24 and 64 bytes."""

SECRETS_LIMIT = 8
"""Secrets that sign at once. Two are a rotation; more headers than this are a wrong file."""


class SecretError(ValueError):
    """The text holds no secrets. It is not repeated in the error."""


def read_secrets(text: str) -> tuple[bytes, ...]:
    """Return the secrets of a file, one `whsec_...` per line, newest first.

    Raises:
        SecretError: a line is no secret, or there is none, or there are too many.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not 1 <= len(lines) <= SECRETS_LIMIT:
        raise SecretError(f"{len(lines)} secrets, expected 1 to {SECRETS_LIMIT}")
    return tuple(_secret(number, line) for number, line in enumerate(lines, 1))


def sign(secrets: tuple[bytes, ...], webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers. `timestamp` is in POSIX seconds."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    macs = (hmac.new(secret, signed, hashlib.sha256).digest() for secret in secrets)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs),
    }


def _secret(number: int, line: str) -> bytes:
    try:
        secret = base64.b64decode(line.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SecretError(f"line {number}: expected {PREFIX} and base64") from error
    if len(secret) not in SECRET_BYTES:
        raise SecretError(f"line {number}: {len(secret)} bytes, expected 24 to 64")
    return secret
