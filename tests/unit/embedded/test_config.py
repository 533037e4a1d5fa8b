import tomllib
from pathlib import Path

import pytest
from msgspec.structs import fields

from missedcall_classifier.policy import Policy
from missedcall_classifier.policy_settings import POLICY_CHECKS
from missedcall_common.runtime.expected import settings_struct
from missedcall_embedded.config import Config, ConfigError, Document, load, parse, reference
from missedcall_embedded.store import Keep

HERE = Path("missedcall.toml")


def wrong(text: str) -> list[str]:
    """Return the problems of a text."""
    with pytest.raises(ConfigError) as caught:
        parse(text, HERE)
    return str(caught.value).splitlines()


def test_an_empty_file_means_the_defaults():
    assert parse("", HERE) == Config()


def test_the_reference_is_the_defaults():
    assert parse(reference(), HERE) == Config()


def keys_of(kind) -> dict:
    """Return the keys that a table of this kind may have, as nested dicts."""
    return {
        f.encode_name: keys_of(group) if (group := settings_struct(f.type)) else None for f in fields(kind)
    }


def written(table: dict, like: dict) -> dict:
    """Return the keys of a table, nested as far as ``like`` is."""
    return {key: written(value, like[key]) if like.get(key) else None for key, value in table.items()}


def test_the_reference_names_every_key():
    known = keys_of(Document)
    known["decide"].pop("users")

    assert written(tomllib.loads(reference()), known) == known


def test_paths_are_relative_to_the_file(tmp_path):
    (tmp_path / "users.txt").write_text("sip:bob@example.com\n")
    (tmp_path / "my.toml").write_text(
        """
        [listen]
        tls = ["127.0.0.1:0"]
        tls_cert_file = "cert.pem"
        tls_key_file = "/etc/key.pem"
        [store]
        file = "data/my.db"
        [decide]
        users_file = "users.txt"
        [notify.webhook]
        secret_file = "hook"
        """
    )
    config = load(tmp_path / "my.toml")

    assert config.listen.tls_cert_file == str(tmp_path / "cert.pem")
    assert config.listen.tls_key_file == "/etc/key.pem"
    assert config.store.file == str(tmp_path / "data/my.db")
    assert config.policy.users == {"sip:bob@example.com"}
    assert config.notify.webhook.secret_file == str(tmp_path / "hook")


def test_a_topic_keeps_its_other_limit():
    config = parse("[store.keep.sip-transactions]\nhours = 1", HERE)

    assert config.store.keep.sip_transactions == Keep(1.0, 8192)


def test_the_policy_is_that_of_the_section_decide():
    config = parse('[decide]\nnotify = ["busy"]\nsettle_s = 5', HERE)

    assert config.policy == Policy(notify=frozenset({"busy"}), settle_s=5.0)
    assert type(config.policy) is Policy


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[listen]\nupd = []", "listen.upd: no such setting; did you mean listen.udp?"),
        ("[lisen]", "lisen: no such setting; did you mean listen?"),
        ("listen = 3", "listen = 3: expected a section [listen]"),
        ('[listen]\nudp = ["9060"]', "listen.udp = ['9060']: expected a list, each HOST:PORT"),
        ('[listen]\ntcp = ["[::1]:65536"]', "listen.tcp = ['[::1]:65536']: expected a list, each HOST:PORT"),
        ('[listen]\nudp = "0.0.0.0:9060"', "listen.udp = '0.0.0.0:9060': expected a list, each HOST:PORT"),
        ("[listen]\nudp = []\ntcp = []", "listen: udp, tcp and tls are all empty"),
        ('[listen]\ntls = ["[::]:0"]', "listen.tls needs tls_cert_file and tls_key_file"),
        ('[listen]\nallow = ["10.0.0.1/8"]', "listen.allow = '10.0.0.1/8': 10.0.0.1/8 has host bits set"),
        ("[listen]\nqueue_mb = 0", "listen.queue_mb = 0: expected a whole number, 1 to 65536"),
        (
            "[store.keep.missed-calls]\nhours = 0",
            "store.keep.missed-calls.hours = 0: expected hours, above 0",
        ),
        ('[store]\nfile = ""', "store.file = '': expected a text that is not empty"),
        ("[decide]\nsettle_s = -1", "decide.settle_s = -1.0: expected seconds, above 0"),
        ('[decide]\nmembers = "most"', "decide.members = 'most': expected one of none, first, last, all"),
        (
            '[decide]\nnotify = ["everything"]',
            "decide.notify = ['everything']: expected a list of caller-canc",
        ),
        (
            '[decide]\ndomains = ["Example.com"]',
            "decide.domains = ['Example.com']: expected hosts in lower case",
        ),
        (
            '[decide]\ncall_id_suffixes = ["("]',
            "decide.call_id_suffixes = ['(']: expected regular expressions",
        ),
        (
            '[decide]\ncorrelation_headers = ["X-CID:"]',
            "decide.correlation_headers = ['X-CID:']: expected names",
        ),
        (
            '[decide]\ncorrelation_headers = ["user-agent"]',
            "decide.correlation_headers = ['user-agent']: expected names of headers in lower case, none that",
        ),
        ('[decide]\nvoicemail = ["VM@x"]', "decide.voicemail = ['VM@x']: expected addresses of record"),
        ('[decide]\nusers = ["sip:a@b"]', "decide.users = ['sip:a@b']: expected them in a file: users_file"),
        ('[decide]\nusers_file = "none"', "decide.users_file = 'none': none: No such file or directory"),
        ('[notify]\ntime_zone = "Mars"', "notify.time_zone = 'Mars': expected the IANA name of a time zone"),
        ("[notify.smtp]\npassword = 1", "notify.smtp.password: a secret is never a value here"),
        ("[listen\n", "not TOML: "),
    ],
)
def test_a_wrong_key_is_named_with_what_would_be_right(text, problem):
    found = wrong(text)

    assert len(found) == 1
    assert found[0].startswith(f"missedcall.toml: {problem}")


def test_all_that_is_wrong_is_said_at_once():
    found = wrong("[listen]\nqueue_mb = 0\n[store]\nfile = 1")

    assert len(found) == 2


def test_every_number_of_the_policy_has_bounds():
    numbers = {field.name for field in fields(Policy) if field.type in (int, float)}

    assert numbers - POLICY_CHECKS.keys() == set()


def test_every_check_is_of_a_key():
    assert POLICY_CHECKS.keys() <= {field.name for field in fields(Policy)}


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"[listen]\n# \xff", "byte 11 is not UTF-8"),
        (b"#" * (1 << 20) + b"#", "more than 1048576 bytes is no configuration"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path, raw, problem):
    path = tmp_path / "x.toml"
    path.write_bytes(raw)

    with pytest.raises(ConfigError, match=problem):
        load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: No such file or directory"):
        load(tmp_path / "none.toml")
