"""`python -m graph_server UPN... --cert PEM --secret-file F [--port N]`: serve until SIGINT.

Prints the URL (authority and endpoint in one), then one line per request: operation, mailbox, items held. For
trying a client by hand. The PEM holds key and certificate of `localhost`.
"""

import argparse
import asyncio
import ssl
from contextlib import suppress
from functools import partial
from pathlib import Path

from .server import GraphServer

say = partial(print, flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(prog="graph_server", description=__doc__)
    parser.add_argument("mailboxes", nargs="+", metavar="UPN")
    parser.add_argument("--cert", type=Path, required=True)
    parser.add_argument("--secret-file", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(given.cert)
    secret = given.secret_file.read_text().strip()
    async with GraphServer(*given.mailboxes, tls=tls, secret=secret, port=given.port) as server:
        say(server.url, server.entra.tenant, server.entra.client_id)
        seen = 0
        while True:
            await asyncio.sleep(0.2)
            for asked in server.asked[seen:]:
                say(asked.operation, asked.mailbox, sum(1 for _ in server.store))
            seen = len(server.asked)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
