"""Our HTTP sessions: without the machine's proxies and cookies, with a sign that a request has begun to leave.

Rule 1: whether it had left when the connection broke tells uncertain from safe. Until a byte of it is written the
        target knows nothing of it.
"""

from typing import Any

import aiohttp

USER_AGENT = "missedcall"


class Progress:
    """How far one request has come: give it as `trace_request_ctx`."""

    sent = False
    """Whether its head has been written."""


def session(connector: aiohttp.TCPConnector, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
    """Return a session."""
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_note)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        trace_configs=[trace],
    )


async def _note(_session: object, context: Any, _params: object) -> None:
    context.trace_request_ctx.sent = True
