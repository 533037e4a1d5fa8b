"""What one notice costs: from the journal's record to the bytes of a mail or an item, in one process.

    python benchmarks/notices.py [--notices 2000] [--rounds 7]

Processor time, best of the rounds, callers and times differing from notice to notice.
"""

import argparse
import sys
import time
from pathlib import Path
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.notify import NOW, make_fact

from missedcall_notifier import wording_files
from missedcall_notifier.channels import item, mail
from missedcall_notifier.delivery import intent
from missedcall_notifier.notices import Notices
from missedcall_notifier.people import phone
from missedcall_notifier.people.directory import Directory
from missedcall_notifier.reader import Defaults, Reader
from missedcall_notifier.settings import EwsSettings, SmtpSettings
from missedcall_schemas.records import Party, Person


def main() -> None:
    """Print microseconds per notice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--notices", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--persons", type=int, default=50_000)
    args = parser.parse_args()
    notices = Notices(wording_files.ours(), Defaults("en-GB", ZoneInfo("Europe/Berlin"), "DE"))
    smtp, ews = SmtpSettings(sender="m@example.com"), EwsSettings(sender="m@example.com")
    for locale in ("en-GB", "de"):
        deliveries = [
            intent(
                make_fact(
                    f"fact-{n}",
                    rang_at=NOW + n,
                    caller=Party(number=f"+4930{23000000 + n}", display_name=f"Alice {n}", source="from"),
                ),
                "smtp",
                "bob@example.com",
                NOW,
                reader=Reader(locale=locale, time_zone="Europe/Berlin", region="DE"),
            )
            for n in range(args.notices)
        ]
        for name, write in (
            ("mail", lambda d: mail.write(d, smtp, notices)),
            ("item", lambda d: item.write(d, ews, notices)),
        ):
            best = float("inf")
            for _ in range(args.rounds):
                phone.read.cache_clear()
                began = time.process_time()
                for delivery in deliveries:
                    write(delivery)
                best = min(best, time.process_time() - began)
            print(f"{name}, {locale}: {best / args.notices * 1e6:.0f} us")
    persons = [
        Person(
            addresses=(f"sip:user{n}@example.com",),
            mailbox=f"user{n}@example.com",
            numbers=(f"+49 30 {23000000 + n}",),
            extension=str(n),
        )
        for n in range(args.persons)
    ]
    began = time.process_time()
    Directory(persons, "DE")
    print(f"directory of {args.persons} persons: {time.process_time() - began:.1f} s")


if __name__ == "__main__":
    main()
