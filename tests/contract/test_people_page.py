"""The examples of docs/people.md work."""

import re
import tomllib
from pathlib import Path

import pytest
from msgspec.structs import fields
from support.notify import NOW, make_fact

from missedcall_common.runtime.settings import from_table
from missedcall_notifier import wording_files
from missedcall_notifier.delivery import intent
from missedcall_notifier.notice import Caller, View
from missedcall_notifier.notices import Notices
from missedcall_notifier.people.ldif import FIELDS
from missedcall_notifier.people.preferences import ROWS
from missedcall_notifier.people.tables import persons_of_csv, persons_of_toml, wishes_of_toml
from missedcall_notifier.reader import Defaults, Reader
from missedcall_notifier.settings import NotifierSettings
from missedcall_schemas.records import Person, Preferences

PAGE = (Path(__file__).parents[2] / "docs/people.md").read_text(encoding="utf-8")


def example(kind, begin):
    """Return the example of a kind that begins like this."""
    found = [text for text in re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) if text.startswith(begin)]
    assert len(found) == 1
    return found[0]


def test_the_settings_are_settings():
    document = tomllib.loads(example("toml", "[notify]"))

    assert from_table(NotifierSettings, document["notify"]).people.region == "DE"


def test_the_directory_is_one():
    anna, paul = persons_of_csv(example("csv", "addresses"))

    assert (anna.name, paul.name) == ("Anna Berg", "Muster, Paul")
    assert persons_of_toml(example("toml", "[[person]]"))[0].mailbox == anna.mailbox


def test_the_preferences_are_some():
    wishes = wishes_of_toml(example("toml", "[everybody]"))

    assert not wishes.of("sip:paul@example.org", None).notices


def test_the_texts_and_the_template_are_taken():
    theirs = {"de.toml": example("toml", "# de.toml"), "notice.txt": example("jinja", "{# notice")}
    notices = Notices(wording_files.ours(), Defaults("de"), theirs)

    notice = notices.render(intent(make_fact(), "smtp", "b@x.example", NOW, reader=Reader()))

    assert notice.subject.startswith("Entgangener Anruf: ")
    assert "Rückruf: +49 30 123\n" in notice.text


@pytest.mark.parametrize(
    "name",
    [
        *(f"`{field.name}`" for kind in (Person, Preferences, View, Caller) for field in fields(kind)),
        *(f"`unrouted:{row.reason}`" for row in ROWS),
        *(f"`{attribute}`" for names in FIELDS.values() for attribute in names),
    ],
)
def test_every_name_is_on_the_page(name):
    assert name in PAGE
