"""What people read, word for word, in every language: `tests/golden/notices/<language>.md`.

A change of words shows in the diff of these files: `python -m pytest tests/golden/test_notices.py` says where,
and with MISSEDCALL_WRITE_GOLDEN=1 in the environment writes them anew.
"""

import os
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from msgspec import UNSET
from support.notify import NOW, make_fact, make_notices, make_retraction

from missedcall_notifier.delivery import intent
from missedcall_notifier.reader import Reader
from missedcall_notifier.series import Series
from missedcall_schemas.records import Cause, Party

FOLDER = Path(__file__).parent / "notices"
LANGUAGES = {
    "en-GB": "Europe/London",
    "en-US": "America/New_York",
    "de": "Europe/Berlin",
    "de-AT": "Europe/Vienna",
}
NAMED = Party(uri="sip:alice@example.net", number="+493023125001", display_name="Alice", source="from")
KNOWN = {"caller_name": "Alice Miller", "caller_mailbox": "alice@example.net"}
OTHERS = (
    "sip:carol@example.com",
    "sip:+493023125099@example.com",
    *(f"sip:u{n}@example.com" for n in range(5)),
)


def notices():
    """Yield a title, a fact and what else the directory knows of people in it, for every kind of notice."""
    yield "a caller whom the directory knows", make_fact(caller=NAMED), KNOWN
    yield "a caller of whom only the caller's system speaks", make_fact(caller=NAMED), {}
    network = Party(number="+442079460123", display_name="ACME", source="p-asserted-identity")
    yield "a caller whom the network names", make_fact(caller=network), {}
    yield "an extension", make_fact(caller=Party(uri="sip:613@example.com", number="613")), {}
    yield "a name and nothing else", make_fact(caller=Party(display_name="Alice", source="from")), {}
    yield "an anonymous caller", make_fact(caller=Party(anonymous=True)), {}
    yield "an unknown caller", make_fact(caller=Party()), {}
    for cause in get_args(Cause):
        yield f"{cause}, phones rang", make_fact(caller=NAMED, cause=cause, ring_s=184.0), {}
        yield f"{cause}, no phone rang", make_fact(caller=NAMED, cause=cause, ring_s=0.0), {}
    for detail in ("dnd", "voicemail-hangup", "queue-hangup", "error-503"):
        yield f"detail {detail}", make_fact(caller=NAMED, detail=detail), {}
    yield (
        "others rang, and an emergency service calls back",
        make_fact(caller=NAMED, also_rang=OTHERS, diverted_via=OTHERS[:1], urgent=True, blind_window=True),
        {"names": {OTHERS[0]: "Carol Jones", "sip:bob@example.com": "Bob Berg"}},
    )
    yield "a correction", make_retraction(make_fact(caller=NAMED)), KNOWN
    yield (
        "a correction about an anonymous caller",
        make_retraction(make_fact(caller=Party(anonymous=True))),
        {},
    )


def repeats():
    """Yield a title, a fact, what the directory knows, and the calls that are told with it."""
    earlier = [make_fact(f"fact-{n}", caller=NAMED, rang_at=NOW - 300 * n) for n in (2, 1)]
    taken = make_retraction(make_fact("fact-3", caller=NAMED, rang_at=NOW - 60))
    yield "several calls of one caller whom the directory knows", make_fact(caller=NAMED), KNOWN, earlier
    yield "several calls, one of which was taken after all", taken, {}, earlier
    yield "two calls within a minute", make_fact(caller=NAMED), {}, [make_fact("fact-1", rang_at=NOW - 5)]
    yield "one call left of two", taken, KNOWN, earlier[:1]


def page(tag):
    parts = [f"# Notices in {tag}, in {LANGUAGES[tag]}\n"]
    alone = ((title, fact, known, ()) for title, fact, known in notices())
    for title, fact, known, others in (*alone, *repeats()):
        reader = Reader(locale=tag, time_zone=LANGUAGES[tag], region="DE", **known)
        series = Series(key="", within_s=600.0, others=tuple(others)) if others else UNSET
        delivery = intent(fact, "smtp", "b@x.example", NOW, reader=reader, series=series)
        notice = make_notices(zone=ZoneInfo("UTC")).render(delivery)
        parts.append(f"## {title}\n\n**{notice.subject}**\n\n```\n{notice.text}```\n")
        if title.startswith(("a caller whom the directory", "an anonymous")):
            parts.append(f"```html\n{notice.html}```\n")
    return "\n".join(parts)


@pytest.mark.parametrize("tag", LANGUAGES)
def test_a_notice_reads_as_it_did(tag):
    path = FOLDER / f"{tag}.md"
    if os.environ.get("MISSEDCALL_WRITE_GOLDEN"):
        path.write_text(page(tag), encoding="utf-8")

    assert page(tag) == path.read_text(encoding="utf-8")
