"""Standard Webhooks 1.0 signatures over `id.timestamp.body`: HMAC-SHA256 (`v1`) and Ed25519 (`v1a`).

Rule 1: every secret signs, so that a receiver which knows the old or the new one accepts the call. Both kinds
        may stand in one file: a receiver moves from a shared secret to a public key as it changes a secret.
Rule 2: the id is the delivery id and the body a function of the fact: both are the same on every attempt.
        The timestamp is the attempt's, because receivers refuse what is five minutes old.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

HMAC_PREFIX = "whsec_"
ED25519_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"

HMAC_BYTES = range(24, 65)
"""Standard Webhooks, "Signature scheme": between 24 and 64 bytes."""

SEED_BYTES = 32
"""RFC 8032 s.5.1.5. Some tools write the public key behind the seed: 64 bytes."""

SECRETS_LIMIT = 8
"""Secrets that sign at once. Two are a rotation; more headers than this are a wrong file."""


class SecretError(ValueError):
    """The text holds no secrets. It is not repeated in the error."""


class Secret(Struct, frozen=True):
    """What signs, in one of two ways."""

    version: Literal["v1", "v1a"]
    key: bytes
    """`v1`: 24 to 64 bytes that the receiver has too; `v1a`: the 32 bytes that an Ed25519 key is made of."""

    def signature(self, signed: bytes) -> str:
        """Return the entry of `webhook-signature`."""
        if self.version == "v1":
            raw = hmac.digest(self.key, signed, hashlib.sha256)
        else:
            raw = Ed25519PrivateKey.from_private_bytes(self.key).sign(signed)
        return f"{self.version},{base64.b64encode(raw).decode()}"


def read_secrets(text: str) -> tuple[Secret, ...]:
    """Return the secrets of a file, one `whsec_...` or `whsk_...` per line, newest first.

    Raises:
        SecretError: a line is no secret, or there is none, or there are too many.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not 1 <= len(lines) <= SECRETS_LIMIT:
        raise SecretError(f"{len(lines)} secrets, expected 1 to {SECRETS_LIMIT}")
    return tuple(_secret(number, line) for number, line in enumerate(lines, 1))


def sign(secrets: tuple[Secret, ...], webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers. `timestamp` is in POSIX seconds."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(secret.signature(signed) for secret in secrets),
    }


def public_key(secret: Secret) -> str:
    """Return what the receiver of a `v1a` secret's signatures needs: `whpk_...`."""
    raw = Ed25519PrivateKey.from_private_bytes(secret.key).public_key().public_bytes_raw()
    return f"{PUBLIC_PREFIX}{base64.b64encode(raw).decode()}"


def _secret(number: int, line: str) -> Secret:
    asymmetric = line.startswith(ED25519_PREFIX)
    try:
        key = base64.b64decode(
            line.removeprefix(ED25519_PREFIX if asymmetric else HMAC_PREFIX), validate=True
        )
    except (binascii.Error, ValueError) as error:
        raise SecretError(f"line {number}: expected {HMAC_PREFIX} or {ED25519_PREFIX} and base64") from error
    if not asymmetric:
        if len(key) not in HMAC_BYTES:
            raise SecretError(f"line {number}: {len(key)} bytes, expected 24 to 64")
        return Secret("v1", key)
    if len(key) not in {SEED_BYTES, 2 * SEED_BYTES}:
        raise SecretError(f"line {number}: {len(key)} bytes, expected 32 or 64")
    secret = Secret("v1a", key[:SEED_BYTES])
    if (
        key[SEED_BYTES:]
        and public_key(secret) != f"{PUBLIC_PREFIX}{base64.b64encode(key[SEED_BYTES:]).decode()}"
    ):
        raise SecretError(f"line {number}: its second half is not the public key of its first")
    return secret
