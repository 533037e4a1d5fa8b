"""The configuration of `missedcall run`: one TOML file; `missedcall.toml` beside this module is its reference.

Rule 1: an error names the file, the key, the value found and what would be right; all errors come at once.
Rule 2: a path in the file is relative to the file.
Rule 3: reading looks into no file but the users': what a listener or a channel needs, it opens when it starts.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from msgspec import Meta, Struct
from msgspec.structs import asdict, fields, replace

from missedcall_classifier.policy import Policy
from missedcall_collector.settings import ListenSettings
from missedcall_common.runtime.settings import SettingsError, from_table
from missedcall_common.sip.names import UNREAD
from missedcall_common.sip.uri import address_of_record
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


class DecideSettings(Policy, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The policy, its users in a file of their own."""

    users_file: str = ""


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
    wrong = [
        *(f"decide.{key} = {value!r}: {right}" for key, value, right in _policy_problems(document.decide)),
        *(f"notify.{key} = {value!r}: {right}" for key, value, right in problems(document.notify)),
    ]
    policy = _policy(document.decide, path.parent, wrong)
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


def _policy(decide: DecideSettings, folder: Path, wrong: list[str]) -> Policy:
    # Late: that module reads configurations, so it imports this one.
    from .policy_input import InputError, read_users  # noqa: PLC0415

    known = {field.name for field in fields(Policy)}
    policy = Policy(**{name: value for name, value in asdict(decide).items() if name in known})
    if decide.users_file:
        try:
            policy = replace(policy, users=read_users(folder / decide.users_file))
        except InputError as error:
            wrong.append(f"decide.users_file = {decide.users_file!r}: {error}")
    return policy


Check = tuple[Callable[[Any], bool], str]
_SECONDS: Check = (lambda value: 0 <= value <= 86_400, "expected seconds, 0 to 86400")
_TIMER: Check = (lambda value: 0 < value <= 86_400, "expected seconds, above 0, at most 86400")
_COUNT: Check = (lambda value: value >= 1, "expected 1 or more")
_TOKEN = re.compile(r"[a-z0-9!%*_+`'~.-]+")  # RFC 3261 s.25.1, lower case
_HOST = re.compile(r"[a-z0-9.-]+|\[[0-9a-f:.]+\]")
_NOTIFIABLE = ("caller-cancelled", "no-answer", "unreachable", "busy", "dnd", "declined", "blocked")


def _each(pattern: re.Pattern[str], right: str) -> Check:
    return (lambda values: all(map(pattern.fullmatch, values)), right)


_ADDRESSES: Check = (
    lambda values: all(value == address_of_record(value) for value in values),
    'expected addresses of record, as verdicts spell them: ["sip:voicemail@example.com"]',
)


def _one_of(*words: str) -> Check:
    return (lambda value: value in words, f"expected one of {', '.join(words)}")


def _compile(values: tuple[str, ...]) -> bool:
    try:
        return all(map(re.compile, values))
    except re.error:
        return False


POLICY_CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "users": (lambda users: users is None, "expected them in a file: users_file names it"),
        "domains": _each(_HOST, 'expected hosts in lower case: ["example.com"]'),
        "correlation_headers": (
            lambda names: all(map(_TOKEN.fullmatch, names)) and UNREAD.isdisjoint(names),
            'expected names of headers in lower case, none that carries no Call-ID anywhere: ["x-cid"]',
        ),
        "call_id_suffixes": (_compile, "expected regular expressions"),
        "resemblance_window_s": _SECONDS,
        "greeting_s": _SECONDS,
        "crossing_s": _SECONDS,
        "voicemail_escape_s": _SECONDS,
        "queue_s": _TIMER,
        "voicemail": _ADDRESSES,
        "attendants": _ADDRESSES,
        "notify": (set(_NOTIFIABLE).issuperset, f"expected a list of {', '.join(_NOTIFIABLE)}"),
        "min_ring_s": _SECONDS,
        "members": _one_of("none", "first", "last", "all"),
        "forwarded_answered": _one_of("none", "primary"),
        "settle_s": _TIMER,
        "open_branch_s": _TIMER,
        "give_up_s": _TIMER,
        "closed_keep_s": _TIMER,
        "max_messages_per_call": _COUNT,
        "max_legs_per_call": _COUNT,
        "max_open_calls": _COUNT,
    }
)
"""What the types of `Policy` do not say: by key, whether a value is possible and what would be right."""


def _policy_problems(decide: DecideSettings) -> Iterator[tuple[str, object, str]]:
    for key, (possible, right) in POLICY_CHECKS.items():
        value = getattr(decide, key)
        if not possible(value):
            yield key, list(value) if isinstance(value, frozenset | tuple) else value, right
