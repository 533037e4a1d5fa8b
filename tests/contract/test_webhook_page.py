"""The receivers on docs/webhook.md do what the page says."""

import base64
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from missedcall_notifier.channels.signature import public_key, read_secrets, sign

PAGE = (Path(__file__).parents[2] / "docs" / "webhook.md").read_text(encoding="utf-8")
SNIPPETS = dict(re.findall(r"```python\n# with: ([^\n]+)\n(.*?)```", PAGE, re.DOTALL))
BODY = b'{"type":"missed_call.missed"}'
HMAC = f"whsec_{base64.b64encode(b'k' * 32).decode()}"
ED25519 = f"whsk_{base64.b64encode(b'e' * 32).decode()}"


def receiver(name):
    """Return the page's function, and the key that it takes."""
    space = {}
    exec(compile(SNIPPETS[name], f"docs/webhook.md: {name}", "exec"), space)
    [secret] = read_secrets(ED25519 if name == "cryptography" else HMAC)
    return space["receive"], public_key(secret) if name == "cryptography" else HMAC


def test_the_page_has_a_receiver_for_each_way():
    assert set(SNIPPETS) == {"standardwebhooks", "the standard library", "cryptography"}


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_receiver_takes_what_is_ours(name):
    receive, key = receiver(name)

    headers = sign(read_secrets(f"{ED25519}\n{HMAC}"), "id", int(time.time()), BODY)

    assert receive(headers, BODY, key) == {"type": "missed_call.missed"}


@pytest.mark.parametrize("name", SNIPPETS)
@pytest.mark.parametrize(("body", "age_s"), [(BODY + b" ", 0), (BODY, 400)], ids=["changed", "old"])
def test_a_receiver_refuses_what_was_changed_or_is_old(name, body, age_s):
    receive, key = receiver(name)
    headers = sign(read_secrets(f"{ED25519}\n{HMAC}"), "id", int(time.time()) - age_s, BODY)

    with pytest.raises(Exception):  # noqa: B017 each library has its own
        receive(headers, body, key)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl: the page's commands cannot be run")
def test_the_commands_on_the_page_make_keys(tmp_path):
    [script] = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    made = subprocess.run(["sh", "-euc", script], cwd=tmp_path, capture_output=True, check=True, text=True)
    [secret] = read_secrets((tmp_path / "webhook.secret").read_text())

    assert made.stdout.strip() == public_key(secret)
