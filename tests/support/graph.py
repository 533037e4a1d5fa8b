"""What the tests of the channel to Exchange Online share."""

import asyncio
import ssl
from functools import cache

import trustme
from graph_server.message import property_id
from graph_server.server import GraphServer
from support.notify import NOW, ManualClock, make_fact, make_notices

from missedcall_notifier.channels.graph import GraphChannel
from missedcall_notifier.delivery import begin, intent
from missedcall_notifier.failure import Report
from missedcall_notifier.settings import GraphSettings

BOB = "bob@contoso.example"
SECRET = "correct horse"  # of a server that lives for one test

KEY = property_id("String {8f3d0d0a-5a3c-4a53-9c0e-6d1f2b7c9e41} Name MissedCallFactId")
"""Our named property, as the server keeps it; written out, since it must never change."""


@cache
def authority() -> trustme.CA:
    return trustme.CA()


@cache
def tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("localhost").configure_cert(context)
    return context


@cache
def credential() -> trustme.LeafCert:
    """Return an application's certificate with its key."""
    return authority().issue_cert("missedcall.example", key_type=trustme.KeyType.RSA)


def make_server(*mailboxes, **options) -> GraphServer:
    return GraphServer(*(mailboxes or (BOB,)), **({"tls": tls(), "secret": SECRET} | options))


def make_settings(server, tmp_path, **changes) -> GraphSettings:
    secret_file, ca_file = tmp_path / "secret", tmp_path / "ca.pem"
    if not secret_file.exists():
        secret_file.write_text(SECRET + "\n")
    authority().cert_pem.write_to_path(ca_file)
    given = {
        "tenant": server.entra.tenant,
        "client_id": server.entra.client_id,
        "secret_file": str(secret_file),
        "authority": server.url,
        "endpoint": server.url,
        "ca_file": str(ca_file),
        "sender": "missed-calls@contoso.example",
        "recipients": {"sip:bob@example.com": BOB},
        "timeout_s": 10.0,
    }
    return GraphSettings(**(given | changes))


def make_attempt(fact=None, recipient=BOB, **changes):
    """Return a delivery whose attempt has begun."""
    delivery = begin(intent(fact or make_fact(), "graph", recipient, NOW), NOW)
    return type(delivery)(
        **({name: getattr(delivery, name) for name in delivery.__struct_fields__} | changes)
    )


def run_channel(server, tmp_path, work, clock=None, **settings):
    """Return what `work(channel)` comes to while the server runs; it must not have been asked anything wrong."""

    async def main():
        async with server:
            channel = GraphChannel(
                make_settings(server, tmp_path, **settings), make_notices(), clock or ManualClock()
            )
            try:
                return await work(channel)
            finally:
                await channel.close()

    result = asyncio.run(main())
    assert server.refused == []
    return result


def send(server, tmp_path, *deliveries, **settings) -> list[Report]:
    """Make one attempt after another over one channel."""

    async def work(channel):
        return [await channel.send(d, channel.render(d)) for d in deliveries or (make_attempt(),)]

    return run_channel(server, tmp_path, work, **settings)


def facts_in(server) -> list[str]:
    """Return the fact of each item, in whatever folder."""
    return [item.properties[KEY] for item in server.store]
