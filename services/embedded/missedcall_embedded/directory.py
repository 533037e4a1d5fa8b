"""`missedcall directory`: the directory's file, checked, or written anew from LDAP.

Rule 1: LDAP is asked here, by a job, and never on a delivery's way.
Rule 2: the file is replaced whole, by one rename, and only by one that is right and no ruin of the last.
Rule 3: the client is OpenLDAP's `ldapsearch`: docs/adr. It gets the password in a file that only we can read.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from missedcall_common.runtime.settings import SettingsError, from_environment, read_secret
from missedcall_notifier.people import ldif
from missedcall_notifier.people.tables import (
    TableError,
    csv_of_persons,
    persons_of_csv,
    persons_of_toml,
    wishes_of_toml,
)
from missedcall_schemas.records import Person

LONGEST_S = 600
"""For the whole search. Active Directory gives up after two minutes a page."""

PAGE = 500
"""Entries in one page (RFC 2696). Active Directory allows 1000."""

KEEPS = 0.5
"""Share of the file's persons that a new one must have. Less: a wrong search base passes. More: an honest change
needs `--force`."""


class DirectoryError(Exception):
    """The command cannot be done; the text says why."""


def main(args: argparse.Namespace) -> int:
    """Do one of the sub-commands. 0: done; 1: not, and why; 2: a file or an option is wrong."""
    try:
        return {"check": _check, "ldap": _ldap, "publish": _publish}[args.work](args)
    except (TableError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except DirectoryError as error:
        print(f"missedcall directory: {error}", file=sys.stderr)
        return 1


def _check(args: argparse.Namespace) -> int:
    status = 0
    for path in args.files:
        try:
            print(f"{path}: {_counted(path)}")
        except (TableError, UnicodeDecodeError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            status = 2
    return status


def _publish(args: argparse.Namespace) -> int:
    try:
        from missedcall_common.kafka.client import KafkaUnusableError  # noqa: PLC0415 - an extra
        from missedcall_common.kafka.settings import PREFIX, KafkaSettings  # noqa: PLC0415
        from missedcall_notifier.stream.publish import FewerError, publish  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise DirectoryError(
            f"publish needs Kafka's client ({error.name} is missing): pip install 'missedcall[kafka]'"
        ) from error
    path: Path = args.file
    text = path.read_text(encoding="utf-8-sig")
    persons = persons_of_toml(text) if path.suffix.lower() == ".toml" else persons_of_csv(text)
    settings = from_environment(KafkaSettings, os.environ, PREFIX)
    try:
        written, deleted = publish(settings, persons, keeps=0.0 if args.force else KEEPS)
    except FewerError as error:
        raise DirectoryError(f"{error}: --force if that is right") from error
    except KafkaUnusableError as error:
        raise DirectoryError(str(error)) from error
    print(f"{len(persons)} persons: {written} records written, {deleted} deleted")
    return 0


def _counted(path: Path) -> str:
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() == ".toml" and "[[person]]" not in text.replace(" ", ""):
        wishes = wishes_of_toml(text)
        return f"preferences of {len(wishes.groups)} groups and {len(wishes.users)} users"
    persons = persons_of_toml(text) if path.suffix.lower() == ".toml" else persons_of_csv(text)
    return f"{len(persons)} persons, {sum(bool(person.mailbox) for person in persons)} with a mailbox"


def _ldap(args: argparse.Namespace) -> int:
    fields = dict(ldif.FIELDS) | dict(map(_mapped, args.map))
    text = _search(args, ldif.attributes(fields, args.address))
    persons, left_out = ldif.persons(ldif.entries(text), fields, args.address)
    for reason, count in sorted(left_out.items()):
        print(f"left out: {reason}: {count}", file=sys.stderr)
    if not persons:
        raise DirectoryError(
            "the search found nobody with an address: is --base, --filter or --address right?"
        )
    _replace(args.out, persons, force=args.force)
    print(f"{args.out}: {len(persons)} persons")
    return 0


def _search(args: argparse.Namespace, names: list[str]) -> str:
    """Return what `ldapsearch` found, as LDIF.

    Raises:
        DirectoryError: it could not be asked, or did not find all.
        SettingsError: the password cannot be read.
    """
    command = ["ldapsearch", "-LLL", "-x", "-o", "ldif-wrap=no", "-o", "nettimeout=15"]
    command += ["-H", _safe(args.url, args.bind_dn, starttls=args.starttls)]
    command += [
        "-E",
        f"pr={PAGE}/noprompt",
        "-b",
        args.base,
        "-s",
        "sub",
        *(["-ZZ"] if args.starttls else []),
    ]
    environment = dict(os.environ) | {"LDAPTLS_REQCERT": "demand", "LC_ALL": "C"}
    if args.ca_file:
        environment["LDAPTLS_CACERT"] = str(args.ca_file)
    with tempfile.TemporaryDirectory(prefix="missedcall-") as folder:
        if args.bind_dn:
            secret = Path(folder) / "password"  # without a line end: ldapsearch would take it for a part
            secret.touch(mode=0o600)
            secret.write_text(read_secret(args.password_file, "--password-file"), encoding="utf-8")
            command += ["-D", args.bind_dn, "-y", str(secret)]
        try:
            done = subprocess.run(  # noqa: S603 a list, no shell
                [*command, args.filter, *names],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=LONGEST_S,
                check=False,
            )
        except FileNotFoundError as error:
            raise DirectoryError(
                "ldapsearch is not here: install Debian's ldap-utils or Red Hat's openldap-clients"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise DirectoryError(f"{args.url}: no end within {LONGEST_S} s") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise DirectoryError(
            f"{args.url}: {' '.join(said)[:300] or f'ldapsearch ended with {done.returncode}'}"
        )
    return done.stdout.decode("utf-8", "replace")


def _safe(url: str, bind_dn: str, *, starttls: bool) -> str:
    """Return the URL of a server to which a password may be sent.

    Raises:
        DirectoryError: it is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"ldap", "ldaps"} or not parts.hostname:
        raise DirectoryError(f"--url = {url!r}: expected ldaps://HOST or ldap://HOST")
    if bind_dn and parts.scheme == "ldap" and not starttls and not _is_loopback(parts.hostname):
        raise DirectoryError("expected ldaps: or --starttls: the password would cross the network in clear")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _replace(path: Path, persons: list[Person], *, force: bool) -> None:
    """Put the persons into the file, in one step.

    Raises:
        DirectoryError: it has far fewer than the file that is there.
    """
    text = csv_of_persons(persons)
    try:
        before = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        before = ""
    if before == text:
        return
    if before and not force:
        try:
            had = len(persons_of_csv(before))
        except TableError:
            had = 0
        if len(persons) < KEEPS * had:
            raise DirectoryError(
                f"{path} has {had} persons, the search found {len(persons)}: --force if that is right"
            )
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary = Path(file.name)
    try:
        temporary.chmod(path.stat().st_mode & 0o777 if before else 0o640)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _mapped(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a field and its attributes.

    Raises:
        DirectoryError: it is none.
    """
    field, equals, names = text.partition("=")
    if not equals or field not in (*ldif.FIELDS, "time_zone"):
        raise DirectoryError(f"--map {text!r}: expected FIELD=ATTRIBUTE,...")
    return field, tuple(name.strip() for name in names.split(",") if name.strip())
