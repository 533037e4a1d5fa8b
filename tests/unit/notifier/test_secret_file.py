"""A secret in a file, read as seldom as can be and as often as must be."""

import asyncio

import pytest

from missedcall_common.runtime.settings import SettingsError
from missedcall_notifier.channels import secret_file
from missedcall_notifier.channels.secret_file import SecretFile
from missedcall_notifier.failure import Failed, Failure


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "secret"
    path.write_text("old\n")
    return path


def read_twice(file, change, between=lambda _: None):
    async def main():
        secret = SecretFile(str(file), "key")
        first = await secret.read()
        change(file)
        between(secret)
        return first, await secret.read()

    return asyncio.run(main())


def renew(file):
    file.write_text("new")


def test_it_is_not_read_for_every_attempt(file, monkeypatch):
    monkeypatch.setattr(secret_file, "AGAIN_S", 3600.0)

    assert read_twice(file, renew) == ("old", "old")


def test_a_new_one_counts_after_a_while(file, monkeypatch):
    monkeypatch.setattr(secret_file, "AGAIN_S", 0.0)

    assert read_twice(file, renew) == ("old", "new")


def test_a_new_one_counts_at_once_after_the_channel_was_down(file, monkeypatch):
    monkeypatch.setattr(secret_file, "AGAIN_S", 3600.0)

    def refused(secret):
        secret.heard(Failed(Failure.CHANNEL_DOWN, "401"))

    assert read_twice(file, renew, refused) == ("old", "new")


def test_one_that_was_taken_away_is_no_secret_any_more(file, monkeypatch):
    monkeypatch.setattr(secret_file, "AGAIN_S", 0.0)

    with pytest.raises(SettingsError, match="expected a file to read"):
        read_twice(file, lambda path: path.unlink())
