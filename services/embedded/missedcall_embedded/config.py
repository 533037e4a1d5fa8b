"""The configuration of `missedcall run`: one TOML file; `missedcall.toml` beside this module is its reference.

Rule 1: an error names the file, the key, the value found and what would be right; all errors come at once.
Rule 2: a path in the file is relative to the file.
Rule 3: reading looks into no file but the users': what a listener or a channel needs, it opens when it starts.
"""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from missedcall_classifier.policy import Policy
from missedcall_classifier.policy_settings import DecideSettings, policy_of
from missedcall_collector.settings import ListenSettings
from missedcall_common.runtime.settings import SettingsError, from_table
from missedcall_notifier.settings import NotifierSettings, near, problems

from .store import Retention

MAX_FILE = 1 << 20
"""Bytes read of a configuration. Nobody writes more; more is a file of something else."""


class ConfigError(ValueError):
    """The configuration cannot be used; the text has one line per problem."""


class StoreSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file that holds everything durable."""

    file: Annotated[str, Meta(min_length=1)] = "missedcall.db"
    keep: Retention = Retention()


class Document(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file as it is written."""

    listen: ListenSettings = ListenSettings()
    store: StoreSettings = StoreSettings()
    decide: DecideSettings = DecideSettings()
    notify: NotifierSettings = NotifierSettings()


class Config(Struct, frozen=True, kw_only=True):
    """All that `missedcall run` is told."""

    listen: ListenSettings = ListenSettings()
    store: StoreSettings = StoreSettings()
    policy: Policy = Policy()
    notify: NotifierSettings = NotifierSettings()


def reference() -> str:
    """Return the text of the default configuration, which explains every key."""
    return files(__package__).joinpath("missedcall.toml").read_text(encoding="utf-8")


def load(path: Path) -> Config:
    """Read a configuration file.

    Raises:
        ConfigError: it cannot be read or says something that it must not.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if len(raw) > MAX_FILE:
        raise ConfigError(f"{path}: more than {MAX_FILE} bytes is no configuration")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8") from error
    return parse(text, path)


def parse(text: str, path: Path) -> Config:
    """Read the text of a configuration; ``path`` stands in errors, and paths in the text are relative to it.

    Raises:
        ConfigError: it says something that it must not.
    """
    try:
        document = from_table(Document, tomllib.loads(text), str(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    except SettingsError as error:
        raise ConfigError(str(error)) from error
    policy, problems_of_policy = policy_of(document.decide, path.parent)
    wrong = [
        *(f"decide.{key} = {value!r}: {right}" for key, value, right in problems_of_policy),
        *(f"notify.{key} = {value!r}: {right}" for key, value, right in problems(document.notify)),
    ]
    if wrong:
        raise ConfigError("\n".join(f"{path}: {line}" for line in wrong))
    names = ("tls_cert_file", "tls_key_file", "tls_client_ca_file", "auth_key_file")
    moved = {name: str(path.parent / file) for name in names if (file := getattr(document.listen, name))}
    return Config(
        listen=replace(document.listen, **moved),
        store=replace(document.store, file=str(path.parent / document.store.file)),
        policy=policy,
        notify=near(document.notify, path.parent),
    )
