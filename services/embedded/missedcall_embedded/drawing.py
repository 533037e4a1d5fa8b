"""The ladder of a call in text: one column per endpoint, one arrow per message.

Rule 1: plain ASCII, so that it survives a ticket, a mail and any terminal.
Rule 2: a ladder that does not fit the width becomes a list of the same messages: never a broken picture.
Rule 3: times are relative to the first INVITE, as in the RFCs' own ladders (RFC 3665).
"""

from collections.abc import Collection, Mapping, Sequence

from missedcall_schemas.records import Evidence

from .table import cells, cut, printable

UNKNOWN = "(unknown)"
"""An endpoint that the capture does not name: Lync traces say only who the peer was."""

NARROWEST = 16
"""Cells between two lifelines. Less: `<-- 487 INVITE --` no longer fits between them."""
WIDEST = 34
"""More only spreads the picture."""
TARGET_MATTERS = frozenset({"INVITE", "REFER"})
HEAD_CELLS = 14
"""Asterisk, time and leg before the first lifeline."""


def start_of(ladder: Sequence[Evidence]) -> float:
    """Return the time of the first INVITE, or of the first message if no INVITE was captured."""
    for message in ladder:
        if message.first_line.startswith("INVITE "):
            return message.at
    return ladder[0].at if ladder else 0.0


def label(first_line: str) -> str:
    """Return what an arrow says: the target of an INVITE matters, that of other requests is noise."""
    word, _, rest = first_line.removesuffix(" SIP/2.0").partition(" ")
    if word.isdigit() or not rest:
        return printable(f"{word} {rest}".rstrip())
    if word not in TARGET_MATTERS:
        return printable(word)
    # Parameters name the way and the device; the room is needed for the user.
    return printable(f"{word} {rest.removeprefix('sip:').partition(';')[0]}")


def leg_names(call_ids: Sequence[str]) -> dict[str, str]:
    """Return a letter for each Call-ID, `a` for the upstream-most; after `z` comes `a1`."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return {
        call_id: letters[index % 26] + (str(index // 26) if index >= 26 else "")
        for index, call_id in enumerate(call_ids)
    }


def draw(
    ladder: Sequence[Evidence],
    legs: Mapping[str, str],
    width: int,
    marked: Collection[Evidence] = (),
) -> list[str]:
    """Return the ladder's lines, at most ``width`` cells each wherever that is possible.

    Args:
        ladder: the call's messages in order of capture.
        legs: Call-ID to the letter that stands for it; shown only if there are several.
        width: of the terminal, in cells.
        marked: messages that get an asterisk.
    """
    heads = _heads(ladder, legs, marked)
    endpoints = _endpoints(ladder)
    # The last name stands centred over the last lifeline, unless it is so long that a letter stands there.
    beyond = min(cells(endpoints[-1]), NARROWEST) // 2 + 1 if endpoints else 0
    room = (width - HEAD_CELLS - beyond) // max(1, len(endpoints) - 1)
    if len(endpoints) < 2 or room < NARROWEST:
        return _listed(ladder, heads)
    return _drawn(ladder, heads, endpoints, min(room, WIDEST), width)


def _endpoints(ladder: Sequence[Evidence]) -> list[str]:
    """Return the endpoints in order of appearance: the caller's side comes first by itself."""
    seen: dict[str, None] = {}
    for message in ladder:
        seen.setdefault(message.src or UNKNOWN)
        seen.setdefault(message.dst or UNKNOWN)
    return list(seen)


def _heads(ladder: Sequence[Evidence], legs: Mapping[str, str], marked: Collection[Evidence]) -> list[str]:
    """Return what stands left of each message: asterisk, time, leg; `HEAD_CELLS` wide."""
    start = start_of(ladder)
    heads = []
    for message in ladder:
        leg = legs.get(message.call_id, "") if len(legs) > 1 else ""
        mark = "*" if message in marked else " "
        heads.append(f"{mark}{message.at - start:+9.3f} {leg:<{HEAD_CELLS - 11}}")
    return heads


def _drawn(
    ladder: Sequence[Evidence], heads: list[str], endpoints: list[str], spacing: int, width: int
) -> list[str]:
    columns = {name: index * spacing for index, name in enumerate(endpoints)}
    lines = _titles(endpoints, spacing)
    for message, head in zip(ladder, heads, strict=True):
        row = _lifelines(len(endpoints), spacing)
        _arrow(
            row, columns[message.src or UNKNOWN], columns[message.dst or UNKNOWN], label(message.first_line)
        )
        drawn = (head + "".join(row)).rstrip()
        reason = printable(message.reason)
        if reason and cells(drawn) + 2 + cells(reason) <= width:
            drawn += "  " + reason
            reason = ""
        lines.append(drawn)
        if reason:
            lines.append(" " * HEAD_CELLS + "  " + reason)
    return lines


def _titles(endpoints: list[str], spacing: int) -> list[str]:
    """Return the heading: the endpoints' names if each fits over its lifeline, else letters and a legend."""
    names = [printable(name) for name in endpoints]
    legend = []
    if any(cells(name) > spacing - 2 for name in names):
        letters = [chr(ord("A") + index % 26) for index in range(len(names))]
        legend = [f"{'':{HEAD_CELLS}}{letter} = {name}" for letter, name in zip(letters, names, strict=True)]
        names = letters
    heading = ""
    for index, name in enumerate(names):
        at = max(0, HEAD_CELLS + index * spacing - cells(name) // 2)
        heading = heading.ljust(at) + name
    return [*legend, heading, " " * HEAD_CELLS + "".join(_lifelines(len(names), spacing))]


def _lifelines(count: int, spacing: int) -> list[str]:
    row = [" "] * ((count - 1) * spacing + 1)
    row[::spacing] = "|" * count
    return row


def _arrow(row: list[str], source: int, target: int, text: str) -> None:
    """Draw one message into ``row``; a message to oneself is written beside its lifeline."""
    if source == target:
        _write(row, source + 2, f"(self) {text}")
        return
    left, right = min(source, target) + 1, max(source, target)
    row[left:right] = "-" * (right - left)
    if source < target:
        row[right - 1] = ">"
    else:
        row[left] = "<"
    # Two dashes and a blank on either side keep the direction readable.
    shown = cut(text, right - left - 6)
    at = left + (right - left - cells(shown) - 2) // 2
    row[at : at + cells(shown) + 2] = [" ", *shown, *[""] * (cells(shown) - len(shown)), " "]


def _write(row: list[str], at: int, text: str) -> None:
    row.extend(" " * (at + cells(text) - len(row)))
    row[at : at + cells(text)] = [*text, *[""] * (cells(text) - len(text))]


def _listed(ladder: Sequence[Evidence], heads: list[str]) -> list[str]:
    routes = [f"{printable(m.src or UNKNOWN)} -> {printable(m.dst or UNKNOWN)}" for m in ladder]
    widest = max(map(cells, routes), default=0)
    lines = []
    for message, head, route in zip(ladder, heads, routes, strict=True):
        padding = " " * (widest - cells(route) + 2)
        lines.append(head + route + padding + label(message.first_line))
        if message.reason:
            lines.append(" " * HEAD_CELLS + "  " + printable(message.reason))
    return lines
