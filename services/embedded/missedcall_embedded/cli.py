"""The `missedcall` command: words in, exit status out.

Rule 1: exit 0 done, 1 done but the answer is no (unknown call, unreachable target, failed demo),
        2 bad usage or bad input, 130 interrupted; a reader that went away (`| head`) is no error.
Rule 2: results go to standard output and nothing else does; everything else goes to standard error.
Rule 3: each command imports what it needs when it is called, so that `--help` answers at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, tzinfo
from importlib import import_module
from pathlib import Path
from zoneinfo import ZoneInfo

from missedcall_classifier.scale_partitions import DESCRIPTION, EPILOG, takes_step

from .target import target

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""
READER_GONE = 141
"""128 + SIGPIPE, as shells have it."""


AUDIT = """\
Reads sip-transactions and missed-calls of a live system, decides every call again, and says which facts are
there twice, missing, different or unexpected. It only reads and joins no group: run it on production.

Give it the environment of the classifier: MISSEDCALL_KAFKA_* say where Kafka is and how the topics are named,
MISSEDCALL_DECIDE_* how calls are decided, MISSEDCALL_APPLICATION which group decides them."""
AUDIT_EPILOG = """\
Not compared, and counted as that: facts of calls that may have begun before the log does (retention), facts
decided under another policy and what was decided before the last of them, facts that are not due yet.

The last line is for programs:
  calls=12 facts=7 compared=7 duplicate=0 missing=0 different=0 unexpected=0 gaps=0

exit status: 0 every fact is there once and right; 1 not so; 2 it cannot be said, standard error tells why"""

CHECK = """\
Tests what the configuration names, and says what is missing and what to do: mail up to RCPT, then taken back; a
mailbox in Exchange, searched; an endpoint, up to TLS; Kafka's topics and rights; files about people. Without
--write nothing is sent and nothing is changed."""
CHECK_EPILOG = """\
One line for each step: ok, fails or not tested, and what to do next.

exit status: 0 nothing fails; 1 something does; 2 the configuration cannot be used"""
REDRIVE = """\
Shows the notices that were given up, and with --execute lets them be tried again: each under the id that it had, so
that a target which has it already knows it, and with its whole patience before it. Without --bootstrap it is those
in the file of the pipeline on this machine, which may be running; with it, those of the notifiers on Kafka
(MISSEDCALL_KAFKA_* say how topics are named, and how to log on)."""
REDRIVE_EPILOG = """\
A notice of a call that turned out to have been taken stays where it is. Running it twice does nothing twice.

The last line is for programs:
  dead=3 redriven=3

exit status: 0 done; 2 it cannot be done, standard error tells why"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character must not end the work.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            status = _run(_parser().parse_args(argv))
        except SystemExit as stop:
            # argparse has printed what it wanted to say: 0 for --help and --version, 2 for bad usage.
            status = stop.code if isinstance(stop.code, int) else 1
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes standard output once more when it exits: give it a place where that succeeds.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _run(args: argparse.Namespace) -> int:
    module = import_module(f".{args.command.replace('-', '_')}", __package__)
    status: int = module.main(args.config) if args.command == "run" else module.main(args)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="missedcall",
        description="Decides from captured SIP which calls were missed, by whom and why.",
        epilog="Each command explains itself: missedcall COMMAND --help",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    replay = commands.add_parser(
        "replay",
        help="decide the calls in capture files; nothing is sent",
        description="Decides every call in the files as if the log went on for ever. Nothing is sent.",
        allow_abbrev=False,
    )
    _takes_captures(replay)
    _takes_policy(replay)
    replay.add_argument(
        "--format",
        choices=("table", "jsonl"),
        default="table",
        help="table: for people (default); jsonl: one record per line",
    )
    replay.add_argument(
        "--verdicts",
        action="store_true",
        help="one Verdict per decided call and user, missed or not, instead of the missed calls",
    )
    replay.add_argument("--stats", action="store_true", help="counts by cause on standard error at the end")

    explain = commands.add_parser(
        "explain",
        help="show one call: its ladder, the rule that fired, who is told and who is not and why",
        description="Shows one call: its ladder, the rule that fired, who is told and who is not and why.",
        allow_abbrev=False,
    )
    _takes_captures(explain)
    _takes_policy(explain)
    explain.add_argument("--call-id", required=True, metavar="ID", help="Call-ID of any leg of the call")

    run = commands.add_parser(
        "run",
        help="the pipeline on one machine: HEP in, decisions, mail, webhooks and Exchange items out",
        description="Listens for HEP, decides, delivers; everything durable is in one SQLite file.",
        allow_abbrev=False,
    )
    run.add_argument("--config", type=Path, metavar="FILE", help="TOML; without it the defaults")

    send = commands.add_parser(
        "send",
        help="play captures as HEP v3",
        description="Plays captures as HEP v3, as fast as they were recorded unless told otherwise.",
        allow_abbrev=False,
    )
    _takes_captures(send)
    send.add_argument(
        "--to", required=True, type=target, metavar="udp://HOST:PORT", help="udp://, tcp:// or tls://"
    )
    pace = send.add_mutually_exclusive_group()
    pace.add_argument(
        "--speed", type=_positive, default=1.0, metavar="N", help="times the recorded speed (default 1)"
    )
    pace.add_argument("--rate", type=_positive, metavar="MSGS_PER_S", help="a fixed rate instead")

    audit = commands.add_parser(
        "audit",
        help="compare the facts on Kafka with what follows from the log there; nothing is written",
        description=AUDIT,
        epilog=AUDIT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    audit.add_argument(
        "--bootstrap",
        metavar="HOST:PORT,...",
        help="brokers (default: the variable MISSEDCALL_KAFKA_BOOTSTRAP)",
    )

    directory = commands.add_parser(
        "directory",
        help="check the directory and preferences, or write the directory from LDAP",
        allow_abbrev=False,
    )
    _takes_directories(directory)

    check = commands.add_parser(
        "check",
        help="test each channel's credentials, reachability and rights; nothing is sent",
        description=CHECK,
        epilog=CHECK_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    check.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML; without it the variables MISSEDCALL_NOTIFY_* and MISSEDCALL_KAFKA_*",
    )
    check.add_argument(
        "--mailbox",
        default="",
        metavar="ADDRESS",
        help="whose mailbox is tried (default: the first that the configuration names)",
    )
    check.add_argument(
        "--write",
        action="store_true",
        help="also write a test item and take it away again, and send webhooks a signed test event",
    )

    redrive = commands.add_parser(
        "redrive",
        help="try notices again that were given up, under the same id",
        description=REDRIVE,
        epilog=REDRIVE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    where = redrive.add_mutually_exclusive_group()
    where.add_argument("--config", type=Path, metavar="FILE", help="the pipeline on this machine: its TOML")
    where.add_argument("--bootstrap", metavar="HOST:PORT,...", help="the notifiers on Kafka: its brokers")
    redrive.add_argument(
        "--channel", action="append", default=[], metavar="NAME", help="smtp, ews, webhook ..."
    )
    redrive.add_argument(
        "--failure", action="append", default=[], metavar="NAME", help="permanent-recipient, transient ..."
    )
    redrive.add_argument(
        "--since",
        default="",
        metavar="WHEN",
        help="given up since then: 90m, 12h, 3d, or a date and time (UTC)",
    )
    redrive.add_argument(
        "--delivery", action="append", default=[], metavar="ID", help="this one; may be given several times"
    )
    how = redrive.add_mutually_exclusive_group()
    how.add_argument("--plan", action="store_true", help="only show what would be done (default)")
    how.add_argument("--execute", action="store_true", help="do it")

    scale = commands.add_parser(
        "scale-partitions",
        help="more partitions for the log on Kafka, while the services work",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    takes_step(scale)

    commands.add_parser(
        "demo",
        help="sample captures through the whole pipeline to a local mail and webhook sink",
        description="Plays sample captures over HEP into the pipeline; shows what it decides and delivers.",
        allow_abbrev=False,
    )
    return parser


class _Version(argparse.Action):
    """Looks the version up only when asked: that costs as long as everything else here."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata  # noqa: PLC0415 - see above

        print(f"missedcall {metadata.version('missedcall')}")
        parser.exit()


def _takes_captures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="pcap, pcapng, HEP dump or Lync/SfB trace, found by content; several are merged by time",
    )
    parser.add_argument(
        "--zone",
        type=_zone,
        default=UTC,
        metavar="ZONE",
        help="time zone of Lync traces, which state none: UTC (default), Europe/Berlin",
    )


def _takes_policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--users",
        type=Path,
        metavar="FILE",
        help="provisioned users, one address of record per line; without it every callee is ours",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="take the [decide] section of this configuration"
    )


def _takes_directories(parser: argparse.ArgumentParser) -> None:
    works = parser.add_subparsers(dest="work", metavar="WORK", required=True)
    check = works.add_parser(
        "check", help="read directories and preferences as the notifier does", allow_abbrev=False
    )
    check.add_argument("files", nargs="+", type=Path, metavar="FILE")
    publish = works.add_parser(
        "publish",
        help="write what differs in the file to the topic `directory`; for cron",
        description="Writes persons that are new or different in the file, and deletes those that are gone. "
        "MISSEDCALL_KAFKA_* say where Kafka is and how the topics are named.",
        allow_abbrev=False,
    )
    publish.add_argument("file", type=Path, metavar="FILE")
    publish.add_argument(
        "--force", action="store_true", help="also if it has far fewer persons than the topic"
    )
    search = works.add_parser(
        "ldap",
        help="write the directory's file from LDAP or Active Directory; for cron",
        description="Searches LDAP with OpenLDAP's ldapsearch and replaces the directory's CSV file.",
        allow_abbrev=False,
    )
    search.add_argument("--url", required=True, metavar="ldaps://HOST")
    search.add_argument("--base", required=True, metavar="DN", help="where the users are")
    search.add_argument("--filter", default="(&(objectClass=person)(mail=*))", help="default: %(default)s")
    search.add_argument("--bind-dn", default="", metavar="DN", help="who asks; without it, nobody")
    search.add_argument("--password-file", type=Path, metavar="FILE", help="with --bind-dn")
    search.add_argument("--starttls", action="store_true", help="with ldap:// encrypt, or give up")
    search.add_argument(
        "--ca-file", type=Path, metavar="PEM", help="who may have signed the server's certificate"
    )
    search.add_argument(
        "--address",
        action="append",
        default=[],
        metavar="PATTERN",
        help="a further address made of attributes: sip:{uid}@example.com",
    )
    search.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="FIELD=ATTRIBUTE,...",
        help="which attributes fill a field, in place of the defaults: docs/people.md",
    )
    search.add_argument("--out", required=True, type=Path, metavar="FILE.csv")
    search.add_argument("--force", action="store_true", help="also if it has far fewer persons than the file")


def _zone(text: str) -> tzinfo:
    """Return a time zone.

    Raises:
        argparse.ArgumentTypeError: there is none of this name.
    """
    try:
        return UTC if text == "UTC" else ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time zone; expected a name of the IANA database such as Europe/Berlin"
        ) from None


def _positive(text: str) -> float:
    """Return a number above 0.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
