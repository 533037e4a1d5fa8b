import email
import email.policy
import os
import random
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import msgspec
import pytest
from msgspec import UNSET
from support.notify import NOW, make_fact, make_notices, make_retraction

from missedcall_common.runtime.settings import SettingsError
from missedcall_notifier import wording_files
from missedcall_notifier.app import notices_of
from missedcall_notifier.channels import item, mail
from missedcall_notifier.delivery import decode, encode, intent
from missedcall_notifier.notices import Notices, WordingError
from missedcall_notifier.reader import Defaults, Reader
from missedcall_notifier.series import Series
from missedcall_notifier.settings import EwsSettings, NotifierSettings, PeopleSettings, SmtpSettings
from missedcall_schemas.records import Party

HOSTILE_NOTICES = int(os.environ.get("MISSEDCALL_HOSTILE", "1000"))
"""`make hostile` asks for 20,000."""

SMTP = SmtpSettings(sender="missed-calls@example.com")
EWS = EwsSettings(sender="missed-calls@example.com")
GERMAN = Reader(locale="de-AT", time_zone="Europe/Vienna", region="AT")


def to(reader, fact=None, others=0):
    earlier = tuple(make_fact(f"fact-{n}", rang_at=NOW - n) for n in range(others, 0, -1))
    series = Series(key="", within_s=600.0, others=earlier) if others else UNSET
    return intent(fact or make_fact(), "smtp", "bob@example.com", NOW, reader=reader, series=series)


def theirs(**sources):
    named = {name.replace("_", "."): source for name, source in sources.items()}
    return Notices(wording_files.ours(), Defaults(), named)


@pytest.mark.parametrize(
    ("locale", "begin"),
    [
        ("de", "Verpasster Anruf von"),
        ("de-AT", "Verpasster Anruf von"),
        ("de-Latn-AT", "Verpasster Anruf von"),
        ("en-US", "Missed call from"),
        ("fr", "Missed call from"),  # nobody has written it: the installation's
        ("", "Missed call from"),
        ("tlh", "Missed call from"),
    ],
)
def test_the_language_is_the_nearest_that_there_are_words_for(locale, begin):
    assert make_notices().render(to(Reader(locale=locale))).subject.startswith(begin)


def test_the_time_is_the_readers():
    assert "11:42" in make_notices().render(to(GERMAN)).text
    assert "10:42" in make_notices().render(to(Reader())).text
    assert "10:42" in make_notices().render(to(Reader(time_zone="Mars/Phobos"))).text


def test_an_intent_that_was_read_from_the_journal_gives_the_same_mail():
    delivery = to(msgspec.structs.replace(GERMAN, caller_name="Ällice", names={"sip:bob@example.com": "Bob"}))

    again = decode(encode(delivery))

    assert again == delivery
    assert mail.write(again, SMTP, make_notices()) == mail.write(delivery, SMTP, make_notices())


def test_a_record_of_a_release_that_knew_no_reader_is_read_and_rendered():
    raw = msgspec.json.decode(encode(to(GERMAN)))
    del raw["reader"], raw["not_before"]

    old = decode(msgspec.json.encode(raw))

    assert old.reader == Reader()
    assert make_notices().render(old).subject.startswith("Missed call from")


def test_a_template_of_the_operators_takes_the_place_of_ours():
    notices = theirs(
        subject_txt="{{ caller.number }} / {{ cause }} / {{ caller.name }}",
        notice_html="<p>{{ caller.name }}</p>",
    )
    caller = Party(number="+4930123", display_name="Q&A", source="from")

    notice = notices.render(to(Reader(), make_fact(caller=caller)))

    assert notice.subject == "+49 30 123 / caller-cancelled / Q&A"
    assert notice.html == "<p>Q&amp;A</p>"
    assert notice.text.startswith("Missed call from")


def test_a_text_of_the_operators_takes_the_place_of_ours():
    notices = theirs(
        de_toml='[subject]\nmissed = "Anruf: {caller}"', **{"de-AT_toml": '[label]\nwhen = "Zeit"'}
    )

    assert notices.render(to(Reader(locale="de"))).subject == "Anruf: +49 30 123 („Alice“)"
    assert "Zeit:" in notices.render(to(GERMAN)).text
    assert notices.render(to(GERMAN)).subject.startswith("Anruf:")


def test_a_language_has_its_own_forms_for_several_things():
    english = (wording_files.ours())["en.toml"]
    few = english.replace("[subject.repeated]", '[subject.repeated]\nfew = "{count} few {caller}"')
    notices = theirs(pl_toml=few)
    reader = Reader(locale="pl")

    subjects = [notices.render(to(reader, others=count - 1)).subject for count in (2, 5, 22)]

    caller = "+49 30 123 (“Alice”)"
    assert subjects == [f"2 few {caller}", f"5 missed calls from {caller}", f"22 few {caller}"]


@pytest.mark.parametrize(
    ("sources", "error"),
    [
        (
            {"notice_txt": "{{ sentence }}\n{{ nmae }}"},
            "notice.txt: line 2: UndefinedError: 'nmae' is undefined",
        ),
        ({"notice_txt": "\n\n{% if caller %}"}, "notice.txt: line 3: Unexpected end of template"),
        (
            {"notice_html": "{% include '/etc/passwd' %}"},
            "notice.html: line 1: TemplateNotFound: /etc/passwd",
        ),
        ({"subject_txt": "{{ caller.anonymous.x.y }}"}, "subject.txt: line 1: UndefinedError"),
        ({"subject_txt": "\n{{ ''.__class__.__mro__ }}"}, "subject.txt: line 2: SecurityError"),
        (
            {"subject_txt": "{{ rows[2].value }}"},
            "subject.txt: line 1: UndefinedError",
        ),  # of some notices only
        ({"notices_txt": "x"}, "notices.txt: expected one of subject.txt, notice.txt, notice.html"),
        ({"de_toml": '[subject]\nmissed = "{x}"'}, "de.toml: line 2: subject.missed: expected {caller}"),
        (
            {"de_toml": '[subject]\nmissed = "{caller.x}"'},
            "de.toml: line 2: subject.missed: expected a name and",
        ),
        ({"de_toml": '[subject]\nmissed = "{caller"'}, "de.toml: line 2: subject.missed: expected '}'"),
        ({"de_toml": "[subject]\nmised = ''"}, "de.toml: line 2: subject.mised: there is no such text"),
        (
            {"de_toml": '[subject.repeated]\nfew = "{number}"'},
            "de.toml: line 2: subject.repeated.few: expected {caller}, {count}",
        ),
        ({"de_toml": "[subject]\nfew = ''"}, "de.toml: line 2: subject.few: there is no such text"),
        ({"de_toml": "[subject]\nmissed = 3"}, "de.toml: line 2: subject.missed: expected a text"),
        ({"de_toml": "[subject"}, "de.toml: line 1: expected TOML"),
        (
            {"fr_toml": "[subject]\nmissed = ''"},
            "fr.toml: expected all texts of a new language; not there: caller",
        ),
        ({"klingon!_toml": ""}, "klingon!.toml: expected"),
    ],
)
def test_what_is_wrong_with_the_operators_files_is_said_with_file_and_line(sources, error):
    with pytest.raises(WordingError) as raised:
        theirs(**sources)

    assert str(raised.value).startswith(error)


def test_a_template_that_fails_on_a_real_call_costs_nobody_the_notice_and_is_told():
    told = []
    source = "x\n{{ 1 / (caller.number | length - 11) if caller.number else 1 }}"
    notices = Notices(
        wording_files.ours(), Defaults(), {"notice.txt": source}, failed=lambda *what: told.append(what)
    )
    caller = Party(number="+49 30 1234")

    assert notices.render(to(Reader(), make_fact(caller=caller))).text.startswith("Missed call from")
    assert told == [("notice.txt", "line 2", "ZeroDivisionError")]


@pytest.mark.parametrize(
    ("expression", "sample"),
    [
        ("1 if not caller.anonymous", "missed, caller-cancelled, anonymous caller"),
        ("1 if kind == 'missed'", "retracted, caller-cancelled, caller with number and name and address"),
        ("1 if cause != 'busy'", "missed, busy, caller with number and name and address"),
        ("1 if caller.anonymous or caller.number or caller.name", "missed, caller-cancelled, unknown caller"),
    ],
)
def test_the_kind_of_notice_that_a_template_fails_on_is_said(expression, sample):
    with pytest.raises(WordingError, match="is undefined") as raised:
        theirs(notice_txt="{{ (" + expression + " else nothing) + 1 }}")

    assert sample in str(raised.value)


def test_the_folder_of_the_settings_is_read(tmp_path):
    (tmp_path / "subject.txt").write_text("{{ caller.number }}")
    (tmp_path / "README").write_text("{{ not ours }}")

    notices = notices_of(NotifierSettings(people=PeopleSettings(templates_folder=str(tmp_path))))

    assert notices.render(to(Reader())).subject == "+49 30 123"


@pytest.mark.parametrize(
    ("people", "error"),
    [
        ({"templates_folder": "/nowhere"}, "notify.people.templates_folder = '/nowhere': No such file"),
        (
            {"language": "fr"},
            "notify.people.language: expected a language that there are texts for (de, en): fr",
        ),
    ],
)
def test_settings_that_lead_nowhere_are_refused(people, error):
    with pytest.raises(SettingsError) as raised:
        notices_of(NotifierSettings(people=PeopleSettings(**people)))

    assert str(raised.value).startswith(error)


class Tags(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.links = set(), set(), set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value.partition(":")[0] for name, value in attrs if name == "href"}

    def handle_comment(self, data):
        self.tags.add("comment")


PIECES = (
    "\r\n", "\n", "\r", "\0", "\x0b", "\u2028", "\x85", "=?utf-8?q?=0D=0ABcc:_x@y.example?=",
    "\r\nBcc: x@y.example",
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "javascript:alert(1)",
    '" onmouseover="alert(1)',
    "</td></table>", "<!--", "]]>", "&lt;", "&#x3c;", "{{ 7 * 7 }}", "{% raw %}", "{caller}",
    "{0.__class__}", "%s",
    "\u202e", "\u200d", "\ud800", "\U000e0041", "a" * 400, "\u0301" * 40, "ﷺ" * 30, "--=_",
    "\r\n--=_", ".\r\n", "«“”»",
    "tel:+4930123", "+49 30 23125001", "613", "sip:", "@", ";ext=1", "@evil.example", "ä", "李",
    "🦊", " ", "\t", "%00",
    "--", "=", "=3D", "=\r\n", "//evil.example", "https://evil.example/", "mailto:x@y.example", "Alice", "x",
)  # fmt: skip


def hostile(chance):
    return "".join(chance.choices(PIECES, k=chance.randint(0, 7)))


def hostile_delivery(chance):
    def word():
        return hostile(chance)

    caller = Party(
        uri=word(),
        number=word(),
        display_name=word(),
        anonymous=chance.random() < 0.1,
        source=chance.choice(["p-asserted-identity", "from", ""]),
    )
    fact = make_fact(
        word().encode("utf-8", "replace").decode(),
        caller=caller,
        callee=word(),
        call_id=word(),
        detail=word(),
        also_rang=(word(), word()),
        diverted_via=(word(),),
    )
    reader = Reader(
        locale=chance.choice(["", "de", "de-AT", "en-US", word()]),
        time_zone=chance.choice(["", "Europe/Berlin", word()]),
        region=chance.choice(["", "DE"]),
        caller_name=word() if chance.random() < 0.3 else "",
        caller_mailbox=word() if chance.random() < 0.3 else "",
        names={fact.callee: word(), fact.also_rang[0]: word()},
    )
    return to(reader, make_retraction(fact) if chance.random() < 0.2 else fact)


def test_nothing_from_the_wire_makes_a_header_a_part_a_tag_or_a_link():
    chance = random.Random(20_000)
    notices = make_notices("de", ZoneInfo("Europe/Berlin"), "DE")
    own = Tags(notices.render(to(Reader())).html)
    nobody = to(Reader(), make_fact(caller=Party(anonymous=True)))
    headers = set(email.message_from_bytes(mail.write(nobody, SMTP, notices)).keys())
    threading = {"In-Reply-To", "References", "Thread-Topic", "Thread-Index"}
    allowed = headers | threading | {"Reply-To"}
    for _ in range(HOSTILE_NOTICES):
        delivery = hostile_delivery(chance)

        raw = mail.write(delivery, SMTP, notices)

        message = email.message_from_bytes(raw, policy=email.policy.default)
        assert headers <= set(message.keys()) <= allowed
        assert len(message.keys()) == len(set(message.keys()))
        plain, html = message.iter_parts()
        assert (plain.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
        assert plain.keys() == html.keys() == ["Content-Type", "Content-Transfer-Encoding"]
        assert not message.defects + plain.defects + html.defects
        assert raw.isascii()
        assert max(map(len, raw.split(b"\r\n"))) <= mail.LINE_LIMIT
        page = Tags(html.get_content())
        assert page.tags <= own.tags | {"a"}
        assert page.attributes <= own.attributes | {"href"}
        assert page.links <= {"tel", "mailto"}
        item.write(delivery, EWS, notices)


def test_an_anonymous_caller_leaks_by_nothing_even_if_the_intent_names_him():
    caller = Party(uri="sip:alice@example.net", number="+493023125001", display_name="Alice", anonymous=True)
    reader = Reader(caller_name="Alice Miller", caller_mailbox="alice@example.net", region="DE")
    for fact in (make_fact(caller=caller), make_retraction(make_fact(caller=caller))):
        delivery = to(reader, fact)
        raw = mail.write(delivery, SMTP, make_notices()) + item.write(delivery, EWS, make_notices())

        assert not any(word in raw.lower() for word in (b"alice", b"23125001"))
