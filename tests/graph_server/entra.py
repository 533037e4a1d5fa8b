"""Tokens, as Entra ID's v2.0 endpoint gives them to applications (client credentials).

Sources: "Microsoft identity platform and the OAuth 2.0 client credentials flow", "Certificate credentials".
"""

import base64
import hashlib
import secrets
import time
from collections import deque
from typing import Any

import jwt
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Entra:
    """One tenant with one application."""

    def __init__(
        self, tenant: str, client_id: str, secret: str, certificate: str, roles: tuple[str, ...]
    ) -> None:
        """Name them; `certificate`: PEM, "" for none."""
        self.tenant = tenant
        self.client_id = client_id
        self.secret = secret
        self.certificate = certificate
        self.roles = roles
        self.requests = 0
        """For tokens, those that were refused included."""
        self.lifetimes_s: deque[int] = deque()
        """Of the next tokens; then an hour."""
        self.revoked_before = 0
        """Tokens with a lower number are no longer believed."""
        self.issued = 0
        self._key = secrets.token_urlsafe(32)
        self._assertions: set[str] = set()

    def discover(self, base: str) -> web.Response:
        authority = f"{base}/{self.tenant}"
        return web.json_response(
            {
                "issuer": f"{authority}/v2.0",
                "authorization_endpoint": f"{authority}/oauth2/v2.0/authorize",
                "token_endpoint": f"{authority}/oauth2/v2.0/token",
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            }
        )

    def refuse_tenant(self) -> web.Response:
        return _refuse(400, "invalid_tenant", 90002, "Tenant not found.")

    def issue(self, base: str, form: dict[str, str]) -> web.Response:
        """Answer a token request."""
        self.requests += 1
        if form.get("grant_type") != "client_credentials":
            return _refuse(400, "unsupported_grant_type", 70003, "The app asked for another grant.")
        if form.get("client_id") != self.client_id:
            return _refuse(400, "unauthorized_client", 700016, "Application was not found in the directory.")
        if form.get("scope") != f"{base}/.default":
            return _refuse(400, "invalid_scope", 1002012, "The scope is not valid: /.default is.")
        if "client_assertion" in form:
            problem = self._check(base, form)
            if problem:
                return _refuse(401, "invalid_client", problem, "Client assertion is not valid.")
        elif not self.secret or form.get("client_secret") != self.secret:
            return _refuse(401, "invalid_client", 7000215, "Invalid client secret provided.")
        lifetime_s = self.lifetimes_s.popleft() if self.lifetimes_s else 3600
        self.issued += 1
        claims = {
            "aud": base,
            "appid": self.client_id,
            "tid": self.tenant,
            "roles": list(self.roles),
            "exp": int(time.time()) + lifetime_s,
            "n": self.issued,
        }
        token = jwt.encode(claims, self._key, algorithm="HS256")
        return web.json_response(
            {
                "token_type": "Bearer",
                "expires_in": lifetime_s,
                "ext_expires_in": lifetime_s,
                "access_token": token,
            }
        )

    def roles_of(self, base: str, token: str) -> frozenset[str] | None:
        """Return what a token permits; None if it is not believed."""
        try:
            claims: dict[str, Any] = jwt.decode(token, self._key, algorithms=["HS256"], audience=base)
        except jwt.InvalidTokenError:
            return None
        return frozenset(claims["roles"]) if claims["n"] > self.revoked_before else None

    def _check(self, base: str, form: dict[str, str]) -> int:
        """Return Entra's number of what is wrong with a client assertion; 0 if nothing is."""
        if form.get("client_assertion_type") != BEARER or "client_secret" in form:
            return 50027
        if not self.certificate:
            return 700027
        certificate = x509.load_pem_x509_certificate(self.certificate.encode())
        thumbprint = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
        wanted = base64.urlsafe_b64encode(thumbprint).rstrip(b"=").decode()
        try:
            if jwt.get_unverified_header(form["client_assertion"]).get("x5t#S256", "").rstrip("=") != wanted:
                return 700027  # signed with a key that is not registered
            claims = jwt.decode(
                form["client_assertion"],
                certificate.public_key(),
                algorithms=["PS256"],
                audience=f"{base}/{self.tenant}/oauth2/v2.0/token",
                issuer=self.client_id,
                options={"require": ["exp", "iss", "sub", "jti", "aud"]},
            )
        except jwt.InvalidTokenError:
            return 700027
        if claims["sub"] != self.client_id or claims["jti"] in self._assertions:
            return 700023
        self._assertions.add(claims["jti"])
        return 0


def _refuse(status: int, error: str, number: int, text: str) -> web.Response:
    body = {
        "error": error,
        "error_description": f"AADSTS{number}: {text}",
        "error_codes": [number],
        "timestamp": "2026-11-27 12:00:00Z",
        "trace_id": "00000000-0000-0000-0000-000000000000",
        "correlation_id": "00000000-0000-0000-0000-000000000000",
    }
    return web.json_response(body, status=status)
