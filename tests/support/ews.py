"""What the tests of the channel to Exchange share."""

import asyncio

from ews_server.server import EwsServer
from support.notify import NOW, make_fact, make_notices

from missedcall_notifier.channels.ews import EwsChannel
from missedcall_notifier.delivery import begin, intent
from missedcall_notifier.failure import Report
from missedcall_notifier.settings import EwsSettings

BOB = "bob@example.com"
ACCOUNT = "EXAMPLE\\missedcall"
PASSWORD = "correct horse"  # of a server that lives for one test

KEY = ("8f3d0d0a-5a3c-4a53-9c0e-6d1f2b7c9e41", "MissedCallFactId", "String")
"""Our named property, as the server keeps it; written out, since it must never change."""


def make_server(*mailboxes, **options) -> EwsServer:
    given = {"accounts": {ACCOUNT: PASSWORD}, "schemes": ("basic",)} | options
    return EwsServer(*(mailboxes or (BOB,)), **given)


def make_settings(server, tmp_path, **changes) -> EwsSettings:
    password_file = tmp_path / "password"
    if not password_file.exists():
        password_file.write_text(PASSWORD + "\n")
    given = {
        "url": server.url,
        "auth": "basic",
        "username": ACCOUNT,
        "password_file": str(password_file),
        "insecure_http": True,
        "sender": "missed-calls@example.com",
        "recipients": {"sip:bob@example.com": BOB},
        "timeout_s": 10.0,
    }
    return EwsSettings(**(given | changes))


def make_attempt(fact=None, recipient=BOB, **changes):
    """Return a delivery whose attempt has begun."""
    delivery = begin(intent(fact or make_fact(), "ews", recipient, NOW), NOW)
    return type(delivery)(
        **({name: getattr(delivery, name) for name in delivery.__struct_fields__} | changes)
    )


def send(server, tmp_path, *deliveries, **settings) -> list[Report]:
    """Make one attempt after another over one channel."""

    async def main():
        async with server:
            channel = EwsChannel(make_settings(server, tmp_path, **settings), make_notices())
            try:
                return [await channel.send(d, channel.render(d)) for d in deliveries or (make_attempt(),)]
            finally:
                await channel.close()

    reports = asyncio.run(main())
    assert_valid(server)
    return reports


def assert_valid(server) -> None:
    """Assert that neither side has sent anything that the schemas do not allow."""
    assert server.violations == []
    assert server.mistakes == []


NO_SCHEMAS = "the official EWS schemas are not on this machine: MISSEDCALL_EWS_XSD names their folder"


def facts_in(server) -> list[str]:
    """Return the fact of each item, in whatever folder."""
    return [item.properties[KEY] for item in server.store]
