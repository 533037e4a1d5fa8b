import base64
import contextlib
import hashlib
import hmac
import shutil
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from missedcall_notifier.channels.signature import SecretError, public_key, read_secrets, sign

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The one of the Standard Webhooks examples."""


def test_the_signature_is_the_one_of_the_specification():
    # Example of the Standard Webhooks reference: this id, time and body under this secret
    headers = sign(read_secrets(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_while_secrets_change_both_sign():
    new, old = base64.b64encode(b"n" * 32).decode(), base64.b64encode(b"o" * 32).decode()

    headers = sign(read_secrets(f"whsec_{new}\nwhsec_{old}\n"), "id", 1, b"{}")

    macs = [base64.b64encode(hmac.digest(key * 32, b"id.1.{}", hashlib.sha256)) for key in (b"n", b"o")]
    assert headers["webhook-signature"] == " ".join(f"v1,{mac.decode()}" for mac in macs)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("whsk_AAAA", "line 1: 3 bytes, expected 32 or 64"),
        (f"whsk_{base64.b64encode(b'x' * 64).decode()}", "line 1: its second half is not the public key"),
        ("", "0 secrets, expected 1 to 8"),
        ("whsec_AAAA", "line 1: 3 bytes, expected 24 to 64"),
        (f"{SECRET}\nwhsec_***", "line 2: expected whsec_ or whsk_ and base64"),
        ("\n".join([SECRET] * 9), "9 secrets, expected 1 to 8"),
        (f"whsec_{base64.b64encode(b'x' * 65).decode()}", "line 1: 65 bytes"),
    ],
)
def test_what_is_no_secret_is_named_but_not_shown(text, found):
    with pytest.raises(SecretError, match=found) as error:
        read_secrets(text)

    assert SECRET not in str(error.value)


@given(st.text())
def test_any_text_is_secrets_or_one_error(text):
    with contextlib.suppress(SecretError):
        assert all(24 <= len(secret.key) <= 64 for secret in read_secrets(text))


SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
"""RFC 8032 s.7.1, TEST 2."""


def whsk(raw):
    return f"whsk_{base64.b64encode(raw).decode()}"


@pytest.mark.parametrize("raw", [SEED, SEED + PUBLIC], ids=["seed", "seed and public key"])
def test_the_public_key_is_the_one_of_the_rfc(raw):
    [secret] = read_secrets(whsk(raw))

    assert public_key(secret) == f"whpk_{base64.b64encode(PUBLIC).decode()}"


def test_both_kinds_sign_at_once():
    headers = sign(read_secrets(f"{SECRET}\n{whsk(SEED)}\n"), "id", 1, b"{}")

    assert [entry.partition(",")[0] for entry in headers["webhook-signature"].split(" ")] == ["v1", "v1a"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl: nobody else verifies v1a")
@pytest.mark.parametrize(("body", "right"), [(b'{"a":"\xc3\xbc"}', True), (b'{"a":"u"}', False)])
def test_openssl_accepts_what_was_signed_and_nothing_else(tmp_path, body, right):
    headers = sign(read_secrets(whsk(SEED)), "id", 1, b'{"a":"\xc3\xbc"}')
    signature = base64.b64decode(headers["webhook-signature"].removeprefix("v1a,"))
    files = {
        "signature": signature,
        "signed": b"id.1." + body,
        "key": bytes.fromhex("302a300506032b6570032100") + PUBLIC,
    }
    for name, content in files.items():  # the key in DER: RFC 8410 s.4
        (tmp_path / name).write_bytes(content)

    asked = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key", "-keyform", "DER", "-rawin"]
    answer = subprocess.run(
        [*asked, "-in", "signed", "-sigfile", "signature"], cwd=tmp_path, capture_output=True, check=False
    )

    assert (answer.returncode == 0) == right, answer


@given(body=st.text(), moved=st.integers(-200, 200))
def test_the_reference_library_accepts_what_was_signed(body, moved):
    body = body.encode("utf-8", "replace")
    headers = sign(read_secrets(f"{whsk(SEED)}\n{SECRET}"), "id", int(time.time()) + moved, body)

    Webhook(SECRET).verify(body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" ", headers, json_parse=False)
