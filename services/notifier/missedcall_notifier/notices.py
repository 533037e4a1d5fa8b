"""Notices in every language that there is, by templates: ours, or the operator's in their place.

Rule 1: rendering is a function of the delivery: language, time zone and names are in its intent.
Rule 2: the operator's files are tried at the start with a sample of every kind of notice. Should a template fail
        on a real one all the same, ours is used, and it is told: a template costs nobody a notice.
Rule 3: a template sees values and nothing else: it runs in Jinja's sandbox, a name that does not exist is an
        error, and what goes into HTML is escaped.
"""

import traceback
from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import Any

from jinja2 import DictLoader, StrictUndefined, Template, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec.structs import asdict

from .delivery import Delivery
from .language import Language, TextError, chain, read_texts
from .notice import Caller, Notice, caller_of, view
from .reader import Defaults, zone_of
from .samples import described, samples
from .sanitise import clean

HTML = "notice.html"
TEMPLATES = ("subject.txt", "notice.txt", HTML)
"""The files of a notice. The same for every language: words are in the texts."""

MODEL = "en"
"""The language whose texts say which texts there are."""

SUBJECT_LIMIT = 255
"""Characters of a subject that every client shows and EWS libraries take."""


class WordingError(ValueError):
    """Files that cannot be used; the text has one line per problem."""


TemplateFailed = Callable[[str, str, str], None]
"""Told of a template of the operator's that failed on a real call: its name, `line 3` or "", the error's class."""


def say_nothing(_template: str, _where: str, _error: str) -> None:
    """Tell nobody."""


class Notices:
    """What everybody reads. Made once, at the start."""

    def __init__(
        self,
        ours: Mapping[str, str],
        defaults: Defaults,
        theirs: Mapping[str, str] | None = None,
        *,
        failed: TemplateFailed = say_nothing,
    ) -> None:
        """Make them of texts and templates.

        Args:
            ours: our files by name.
            defaults: language and zone for readers of whom the directory says nothing.
            theirs: the operator's files by name: each template takes the place of ours, texts that of single ones.
            failed: told of each time that a template of the operator's was passed over.

        Raises:
            WordingError: a file of the operator's is wrong.
        """
        self._defaults = defaults
        self._failed = failed
        self._languages: dict[str, Language] = {}
        self._ours = _compiled(ours)
        self._theirs: dict[str, Template] = {}
        self._texts = _texts(ours, theirs or {})
        default = self._spoken(defaults.locale)
        if default is None:
            spoken = ", ".join(sorted(self._texts))
            raise WordingError(f"expected a language that there are texts for ({spoken}): {defaults.locale}")
        self._default = default
        self._theirs = self._tried(theirs or {})

    def render(self, delivery: Delivery, *, html: bool = True) -> Notice:
        """Return what the recipient reads.

        Args:
            delivery: what happened, and who reads it.
            html: whether anybody looks at that form; it takes as long as all the rest.

        Raises:
            ImplausibleTimeError: no time of the fact can be a time of a call.
        """
        values = self._values(delivery)
        subject, *forms = (self._filled(name, values) for name in TEMPLATES if html or name != HTML)
        return Notice(clean(subject, SUBJECT_LIMIT), *forms)

    def caller(self, delivery: Delivery) -> Caller:
        """Return the caller as the recipient may see him."""
        return caller_of(delivery.calls[-1].caller, delivery.reader, self.language(delivery.reader.locale))

    def zone(self, delivery: Delivery) -> tzinfo:
        """Return the recipient's time zone."""
        return zone_of(delivery.reader, self._defaults)

    def language(self, tag: str) -> Language:
        """Return the language for a tag: `de-AT`, else `de`, else the installation's."""
        if tag not in self._languages:
            self._languages[tag] = self._spoken(tag) or self._default
        return self._languages[tag]

    def _spoken(self, tag: str) -> Language | None:
        """Return a language with the dates of the whole tag, and the words of the first part that has any."""
        texts = next((self._texts[name] for name in chain(tag) if name in self._texts), None)
        try:
            return None if texts is None else Language(tag, texts)
        except ValueError:  # this release's locale data know the tag no more
            return None

    def _values(self, delivery: Delivery) -> dict[str, Any]:
        language, zone = self.language(delivery.reader.locale), self.zone(delivery)
        *earlier, last = delivery.calls
        taken = delivery.fact if delivery.supersedes and not delivery.corrects else None
        return asdict(view(last, delivery.reader, language, zone, earlier=earlier, taken=taken))

    def _filled(self, name: str, values: dict[str, Any]) -> str:
        if name in self._theirs:
            try:
                return self._theirs[name].render(values)
            except Exception as error:  # noqa: BLE001 an operator's expression may raise whatever it likes
                self._failed(name, _line_in(error, name), type(error).__name__)
                return self._ours[name].render(values)
        return self._ours[name].render(values)

    def _tried(self, theirs: Mapping[str, str]) -> dict[str, Template]:
        """Return the operator's templates once each has rendered every sample in every language.

        Raises:
            WordingError: one cannot.
        """
        sources = {name: theirs[name] for name in TEMPLATES if name in theirs}
        unknown = [name for name in theirs if name not in sources and not name.endswith(".toml")]
        problems = [f"{name}: expected one of {', '.join(TEMPLATES)}" for name in unknown]
        found = {}
        for name, source in sources.items():
            tried = ""
            try:
                found[name] = _compiled({name: source})[name]
                for tag in sorted(self._texts):
                    for delivery in samples(tag):
                        tried = f" ({tag}: {described(delivery)})"
                        found[name].render(self._values(delivery))
            except TemplateSyntaxError as error:
                problems.append(f"{name}: line {error.lineno}: {error.message}")
            except Exception as error:  # noqa: BLE001 as above
                line = _line_in(error, name)
                problems.append(f"{name}: {line}{': ' if line else ''}{type(error).__name__}: {error}{tried}")
        if problems:
            raise WordingError("\n".join(problems))
        return found


def _compiled(sources: Mapping[str, str]) -> dict[str, Template]:
    """Return the templates among `sources`.

    Raises:
        TemplateSyntaxError: one is none.
    """
    environment = ImmutableSandboxedEnvironment(
        loader=DictLoader({}),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    escaping = environment.overlay(autoescape=True)
    found = {}
    for name, source in sources.items():
        if not name.endswith(".toml"):
            chosen = escaping if name.endswith(".html") else environment
            code = chosen.compile(source, name, name)
            found[name] = Template.from_code(chosen, code, chosen.make_globals(None))
    return found


def _texts(ours: Mapping[str, str], theirs: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the texts of every language, the operator's in place of ours.

    Raises:
        WordingError: a file of the operator's is wrong.
    """
    model = read_texts(ours[f"{MODEL}.toml"])
    texts = {_tag(name): read_texts(source, model) for name, source in ours.items() if name.endswith(".toml")}
    problems = []
    for name, source in theirs.items():
        if not name.endswith(".toml"):
            continue
        below = next((texts[tag] for tag in chain(_tag(name)) if tag in texts), {})
        try:
            own = {**below, **read_texts(source, model)}
            if missing := sorted(model.keys() - own.keys()):
                problems.append(
                    f"{name}: expected all texts of a new language; not there: {', '.join(missing)}"
                )
            Language(_tag(name), own)
            texts[_tag(name)] = own
        except TextError as error:
            problems.append(f"{name}: {error}")
        except ValueError:
            problems.append(f"{name}: expected the name of a language: fr.toml, de-AT.toml")
    if problems:
        raise WordingError("\n".join(problems))
    return texts


def _tag(name: str) -> str:
    return name.removesuffix(".toml")


def _line_in(error: Exception, name: str) -> str:
    """Return where in a template an error came from: `line 3`; "" if it cannot be said."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    return f"line {lines[-1]}" if lines else ""
