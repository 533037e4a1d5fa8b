"""The official schemas of Exchange Web Services, as validators of what goes in and what goes out.

They are not part of this repository: Microsoft's Interop-TestSuites (MIT) hold them in parts, to be merged to
one file per namespace, `types.xsd` and `messages.xsd`. `MISSEDCALL_EWS_XSD` names their folder.
"""

import os
from functools import cache
from pathlib import Path

from lxml import etree

FOLDER = Path(
    os.environ.get("MISSEDCALL_EWS_XSD")
    or Path(__file__).resolve().parents[3] / "shared/ews-xsd"  # beside a checkout, if at all
)


class InvalidError(ValueError):
    """An element is not as the schema wants it."""


class Schemas:
    """Both schemas. `Schemas.find()` compiles them once per process."""

    def __init__(self, folder: Path) -> None:
        self._messages = etree.XMLSchema(etree.parse(folder / "messages.xsd"))
        self._types = etree.XMLSchema(etree.parse(folder / "types.xsd"))

    @staticmethod
    def find() -> "Schemas | None":
        """Return the schemas; None if this machine has none."""
        return _compiled(FOLDER) if (FOLDER / "messages.xsd").is_file() else None

    def check_message(self, element: etree._Element) -> None:
        """Check a child of soap:Body."""
        _check(self._messages, element)

    def check_header(self, element: etree._Element) -> None:
        """Check a child of soap:Header."""
        _check(self._types, element)


@cache
def _compiled(folder: Path) -> Schemas:
    return Schemas(folder)


def _check(schema: etree.XMLSchema, element: etree._Element) -> None:
    alone = etree.fromstring(
        etree.tostring(element, with_tail=False)
    )  # validated where it stands it is not found
    if not schema.validate(alone):
        first = schema.error_log[0]
        raise InvalidError(f"line {first.line}: {first.message}")
