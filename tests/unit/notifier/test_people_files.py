import asyncio
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from missedcall_common.runtime import events
from missedcall_common.runtime.settings import SettingsError
from missedcall_notifier.people.files import FilePeople
from missedcall_notifier.people.tables import (
    TableError,
    csv_of_persons,
    persons_of_csv,
    persons_of_toml,
    wishes_of_toml,
)
from missedcall_notifier.settings import PeopleSettings
from missedcall_schemas.records import Person, Preferences

CSV = """\
addresses,name,mailbox,numbers,extension,locale,time_zone,channels,groups
sip:anna.berg@example.org;sip:613@example.org,Anna Berg,anna.berg@example.org,+49 30 23125001,613,de,,,sales;berlin
sip:paul@example.org,"Muster, Paul",paul@example.org,,,,,smtp,
"""
ANNA, PAUL = (
    Person(
        addresses=("sip:anna.berg@example.org", "sip:613@example.org"),
        name="Anna Berg",
        mailbox="anna.berg@example.org",
        numbers=("+49 30 23125001",),
        extension="613",
        locale="de",
        groups=("sales", "berlin"),
    ),
    Person(
        addresses=("sip:paul@example.org",),
        name="Muster, Paul",
        mailbox="paul@example.org",
        channels=("smtp",),
    ),
)
TOML = """
[[person]]
addresses = ["sip:paul@example.org"]
name = "Muster, Paul"
mailbox = "paul@example.org"
channels = ["smtp"]
"""


def test_a_directory_of_comma_separated_values():
    assert persons_of_csv(CSV) == [ANNA, PAUL]


def test_a_spreadsheet_may_add_a_mark_and_end_lines_its_way():
    assert persons_of_csv("\ufeff" + CSV.replace("\n", "\r\n")) == [ANNA, PAUL]


def test_columns_may_be_left_out_and_in_any_order():
    assert persons_of_csv("name,addresses\nPaul,sip:paul@example.org\n\n") == [
        Person(addresses=("sip:paul@example.org",), name="Paul")
    ]


def test_what_is_written_is_read_again():
    assert persons_of_csv(csv_of_persons([ANNA, PAUL])) == [ANNA, PAUL]


def test_a_directory_of_tables():
    assert persons_of_toml(TOML) == [PAUL]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "line 1: expected names of columns, separated by commas: addresses, name"),
        ("addresses;name\nsip:a@b.example;A\n", "line 1: expected names of columns, separated by commas"),
        ("addresses,phone\n", "line 1: expected names of columns"),
        ("name\nAnna\n", "line 1: expected names of columns"),
        ("addresses,name\nsip:a@b.example\n", "line 2: expected 2 values, as the first line has"),
        ("addresses\n", "expected at least one person: an empty file would undo the directory"),
        ("addresses,name\n,Anna\n", "line 2: addresses: expected at least one address of record"),
        ("addresses\nanna@example.org\n", "line 2: addresses: expected addresses of record"),
        ("addresses\nsip:anna@example.org:5060\n", "line 2: addresses: expected addresses of record"),
        ("addresses,mailbox\nsip:a@b.example,Anna\n", "line 2: mailbox: expected a mail address"),
        ("addresses,mailbox\nsip:a@b.example,a@b.example\r\nBcc: x\n", "line 3: expected 2 values"),
        ("addresses,numbers\nsip:a@b.example,12 monkeys\n", "line 2: numbers: expected telephone numbers"),
        ("addresses,extension\nsip:a@b.example,x1\n", "line 2: extension: expected 1 to 11 of"),
        ("addresses,locale\nsip:a@b.example,tlh\n", "line 2: locale: expected a language"),
        ("addresses,time_zone\nsip:a@b.example,../x\n", "line 2: time_zone: expected the IANA name"),
        ("addresses,channels\nsip:a@b.example,fax\n", "line 2: channels: expected some of smtp, ews, graph"),
        (
            "addresses\nsip:a@b.example\nsip:A@b.example\n",
            "line 3: addresses: expected each once, one of these is in line 2 too",
        ),
        ('addresses,name\nsip:a@b.example,"Anna\n', "line 2: not CSV"),
    ],
)
def test_a_wrong_line_is_named_with_what_was_expected(text, error):
    with pytest.raises(TableError, match="^" + error.replace(".", r"\.")):
        persons_of_csv(text)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("x = ", "line 1: expected TOML"),
        ("x = 1", r"expected tables \[\[person\]\] and nothing else"),
        (TOML + "[[person]]\nname = 3\naddresses = []", "line 7: person 2: expected `str`, got `int`"),
        (TOML + "[[person]]\nnames = 3", "line 7: person 2: expected only addresses"),
        (TOML + "\n[[person]]\naddresses = []", "line 8: addresses: expected at least one"),
    ],
)
def test_a_wrong_table_is_named_with_its_line(text, error):
    with pytest.raises(TableError, match=error):
        persons_of_toml(text)


WISHES = """
[everybody]
quiet_hours = "22:00-07:00"

[group.sales]   # these people sell
min_ring_s = 2

[user."sip:Anna.Berg@example.org"]
notices = false
"""


def test_preferences_are_everybodys_groups_and_users():
    wishes = wishes_of_toml(WISHES)

    assert wishes.everybody == Preferences(quiet_hours="22:00-07:00")
    assert wishes.groups == {"sales": Preferences(min_ring_s=2.0)}
    assert wishes.users == {"sip:anna.berg@example.org": Preferences(notices=False)}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (('"22:00-07:00"', '"22-7"'), 'line 2: quiet_hours: expected "22:00-07:00"'),
        (('"22:00-07:00"', '"07:00-07:00"'), "line 2: quiet_hours"),
        (("min_ring_s = 2", "min_ring_s = -1"), "line 5: min_ring_s: expected seconds, 0 to 600"),
        (("min_ring_s = 2", "repeats_s = 86401"), "line 5: repeats_s: expected seconds, 0 to 86400"),
        (("min_ring_s = 2", 'channels = ["webhook"]'), "line 5: channels: expected some of smtp"),
        (("min_ring_s = 2", 'quiet_days = ["sunday"]'), "line 5: quiet_days: expected some of mon"),
        (("notices = false", "notice = false"), r"line 8: \[user\..*\]: expected only anonymous, channels"),
        (("notices = false", 'notices = "no"'), r"line 8: .*: expected `bool`, got `str`"),
        (("[everybody]", "[everyone]"), r"expected tables \[everybody\], \[group.NAME\] and"),
    ],
)
def test_a_wrong_choice_is_named_with_its_line(change, error):
    with pytest.raises(TableError, match=error):
        wishes_of_toml(WISHES.replace(*change))


def refuse(read, text):
    try:
        read(text)
    except TableError as error:
        return str(error)
    return ""


@given(st.text(max_size=200))
def test_no_text_fails_otherwise_and_no_error_repeats_it(text):
    refuse(persons_of_toml, text)
    refuse(wishes_of_toml, text)
    refuse(persons_of_csv, text)
    assert "secret" not in refuse(persons_of_csv, f"addresses,mailbox\nsip:secret@b.example,secret{text}")


@pytest.fixture
def log(caplog):
    def lines():
        return [(record.event.value, record.fields) for record in caplog.records if hasattr(record, "event")]

    caplog.set_level("INFO", logger="missedcall")
    return lines


def write(path, text):
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1_000_000))
    return str(path)


def test_a_file_that_is_wrong_at_the_start_is_a_wrong_setting(tmp_path):
    settings = PeopleSettings(
        directory_file=write(tmp_path / "d.csv", "x"), preferences_file=str(tmp_path / "absent.toml")
    )

    with pytest.raises(SettingsError) as error:
        FilePeople(settings)

    first, second = error.value.problems
    assert first.startswith(f"notify.people.directory_file = '{tmp_path}/d.csv': line 1: expected names of")
    assert second.endswith("absent.toml': No such file or directory: expected a file to read")


def test_a_change_holds_once_the_file_has_stood_still_for_a_look(tmp_path, log):
    async def main():
        path = tmp_path / "d.csv"
        people = FilePeople(PeopleSettings(directory_file=write(path, CSV)))
        write(path, "addresses\nsip:new@example.org\n")
        await people.look()
        assert people.snapshot().directory.user("sip:new@example.org") is None
        await people.look()
        assert people.snapshot().directory.user("sip:new@example.org") is not None
        assert people.snapshot().directory.user("sip:paul@example.org") is None

    asyncio.run(main())
    assert log() == [("directory.loaded", {"record": "directory", "records": 1})]


def test_a_change_that_is_wrong_is_named_once_and_what_was_read_last_holds(tmp_path, log):
    async def main():
        path = tmp_path / "d.csv"
        people = FilePeople(PeopleSettings(directory_file=write(path, CSV)))
        write(path, CSV + "sip:zoe@example.org,Zoe,zoe\n")
        for _ in range(4):
            await people.look()
        assert people.snapshot().directory.user("sip:paul@example.org") == PAUL
        path.unlink()  # an editor that moves the new file into its place
        for _ in range(4):
            await people.look()
        write(path, CSV + "sip:zoe@example.org,Zoe,,,,,,,\n")
        for _ in range(2):
            await people.look()
        assert people.snapshot().directory.user("sip:zoe@example.org").name == "Zoe"

    asyncio.run(main())
    refused, loaded = log()
    assert refused == (
        "directory.refused",
        {"record": "d.csv", "where": "line 4", "detail": "line 4: expected 9 values, as the first line has"},
    )
    assert loaded[0] == "directory.loaded"


def test_preferences_are_followed_too(tmp_path):
    async def main():
        path = tmp_path / "p.toml"
        people = FilePeople(PeopleSettings(preferences_file=write(path, WISHES)))
        assert people.snapshot().wishes.of("sip:x@example.org", None).quiet_hours == "22:00-07:00"
        write(path, "[everybody]\nnotices = false")
        await people.look()
        await people.look()
        assert people.snapshot().wishes.of("sip:x@example.org", None).notices is False

    asyncio.run(main())


def test_following_ends_when_it_is_told_to():
    async def main():
        stopping = asyncio.Event()
        following = asyncio.ensure_future(FilePeople(PeopleSettings()).follow(stopping))
        await asyncio.sleep(0)
        stopping.set()
        await asyncio.wait_for(following, 10)

    asyncio.run(main())


def test_a_refusal_can_be_logged():
    assert json.dumps({"detail": refuse(persons_of_csv, "addresses\nsip:a@b.example:1\n")})
    assert events.Event.DIRECTORY_REFUSED.level == events.ERROR
