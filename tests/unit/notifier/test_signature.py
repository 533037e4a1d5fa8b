import base64
import contextlib
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from missedcall_notifier.channels.signature import SecretError, read_secrets, sign

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
        ("", "0 secrets, expected 1 to 8"),
        ("whsec_AAAA", "line 1: 3 bytes, expected 24 to 64"),
        (f"{SECRET}\nwhsec_***", "line 2: expected whsec_ and base64"),
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
        assert all(24 <= len(secret) <= 64 for secret in read_secrets(text))
