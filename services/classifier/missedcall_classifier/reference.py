"""docs/rules.md from the rows: `python -m missedcall_classifier.reference > docs/rules.md`."""

import sys

from .ends import ROWS
from .policy import Policy
from .rules import RULES, WAITS
from .verdicts import FILTERS


def rules_markdown() -> str:
    """Return the reference of every rule, end, wait and filter, in their order of evaluation."""
    lines = [
        "# Rules",
        "",
        (
            "Generated from the rows in `services/classifier/missedcall_classifier/` by "
            "`python -m missedcall_classifier.reference`; a test checks that it is fresh."
        ),
        "",
        "## What a call was for the called user (`rules.py`)",
        "",
        "The first rule that holds decides. Its name is in every verdict and fact.",
        "",
        "| # | rule | outcome | cause | detail | source |",
        "|---|---|---|---|---|---|",
    ]
    for number, rule in enumerate(RULES, 1):
        detail = "`error-<status>`" if rule.detail == "error" else f"`{rule.detail}`" if rule.detail else ""
        lines.append(
            f"| {number} | `{rule.name}` | {rule.outcome} | {rule.cause} | {detail} | {rule.source} |"
        )
    lines += [
        "",
        (
            "Further users of the call get `answered`, `answered-by-another`, `secondary`, `group-member`, "
            "`not-our-user`, or, if the policy's `members` says so, `member-told` (`verdicts.py`)."
        ),
        "",
        "## How one branch ended (`ends.py`)",
        "",
        "The first row that holds names the end; the rules ask about ends.",
        "",
        "| # | end | source |",
        "|---|---|---|",
    ]
    lines += [f"| {number} | `{row.end}` | {row.source} |" for number, row in enumerate(ROWS, 1)]
    policy = Policy()
    lines += [
        "",
        "## When a call is decided (`rules.WAITS`)",
        "",
        "Seconds after its last new message, by the collector's clock; defaults of the policy.",
        "",
        "| waiting for | policy field | seconds | source |",
        "|---|---|---|---|",
    ]
    for row in WAITS:
        seconds = sum(getattr(policy, name) for name in row.fields)
        lines.append(
            f"| `{row.name}` | {' + '.join(f'`{f}`' for f in row.fields)} | {seconds:g} | {row.source} |"
        )
    lines += [
        "",
        "## Why a missed call brings no notice (`verdicts.FILTERS`)",
        "",
        "The fact is published all the same, with the name in `suppressed`.",
        "",
    ]
    lines += [f"- `{row.name}`: {row.meaning}" for row in FILTERS]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(rules_markdown())
