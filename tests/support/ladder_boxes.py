"""Who takes part in a ladder and where: people with phones, and servers."""

import hashlib

BASIC_USERS = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")
"""Names that are people; each phone is `name` or `name.N`. Any other name is a server."""


class Boxes:
    """Addresses of everybody in a ladder.

    Args:
        seed: makes tags, branches and Call-IDs of two ladders differ.
        domain: host of the addresses of record.
        style: `rfc`; `lync` (client Via without branch, epid, Request-URI without user); `rfc2543`
            (no branch at all, RFC 3261 s.17.2.3).
    """

    def __init__(self, seed: str = "", domain: str = "example.com", style: str = "rfc") -> None:
        self.seed = seed
        self.domain = domain
        self.style = style
        self.users: dict[str, str] = {}
        self.contacts: dict[str, str] = {}
        self.transport = "tls" if style == "lync" else "udp"
        self.transports: dict[tuple[str, str], str] = {}
        self.net = 1
        """People live in 10.net/16."""
        self.mark = ""
        """Ends every token."""
        self._servers: dict[str, int] = {}

    def user_of(self, box: str) -> str:
        """Return the person a box belongs to; "" for a server."""
        stem = box.partition(".")[0]
        return stem if stem in self.users or stem in BASIC_USERS else ""

    def aor(self, name: str) -> str:
        """Return the address of record of a name or a number, or `name` itself where it is a URI already."""
        if ":" in name:
            return name
        if name.startswith("+") or name.isdigit():
            return f"sip:{name}@{self.domain};user=phone"
        return self.users.get(name) or f"sip:{name}@{self.domain}"

    def ip(self, box: str) -> str:
        """Return the box's IPv4 address: people live in 10.1/16, servers in 10.0.0/24."""
        user = self.user_of(box)
        if user:
            order = (*BASIC_USERS, *(name for name in self.users if name not in BASIC_USERS))
            return f"10.{self.net}.{order.index(user) + 1}.{_device(box)}"
        return f"10.0.0.{self._servers.setdefault(box, 10 + len(self._servers))}"

    def transport_of(self, src: str, dst: str) -> str:
        """Return the transport of the hop, whichever way it is used."""
        return self.transports.get((src, dst)) or self.transports.get((dst, src)) or self.transport

    def address(self, box: str, peer: str = "") -> str:
        """Return `ip:port` of the box as its peer sees it."""
        if self.style == "lync" and self.user_of(box):
            return f"{self.ip(box)}:{51000 + _device(box)}"
        secure = self.transport_of(box, peer) in ("tls", "wss")
        return f"{self.ip(box)}:{5061 if secure else 5060}"

    def contact(self, box: str) -> str:
        """Return the box's contact URI: where its registration or its dialogs lead to."""
        if box in self.contacts:
            return self.contacts[box]
        user = self.user_of(box)
        if self.style == "lync":
            if not user:
                return f"sip:{box}.{self.domain}:5061;transport=tls"
            gruu = self.token("gruu", box, n=16)
            return f"{self.aor(user).partition(';')[0]};opaque=user:epid:{gruu};gruu"
        name = self.aor(user).partition(":")[2].partition("@")[0] if user else box
        return f"sip:{name}@{self.address(box)}"

    def registered(self, box: str) -> str:
        """Return the Request-URI by which a proxy reaches a device (RFC 3261 s.16.5)."""
        if self.style == "lync" and box not in self.contacts:
            opaque, cid = self.token("opaque", box), self.token("cid", box, n=4).upper()
            return f"sip:{self.address(box)};transport=tls;ms-opaque={opaque};ms-received-cid={cid}"
        return self.contact(box)

    def epid(self, box: str) -> str:
        """Return the endpoint id that Lync adds to From and To; "" elsewhere."""
        return f";epid={self.token('epid', box, n=12)}" if self.style == "lync" and self.user_of(box) else ""

    def head(self, who: str) -> str:
        """Return From or To without its tag for a name, a URI or a complete name-addr."""
        if "<" in who:
            return who
        uri = self.aor(who)
        return f'"{who.capitalize()}" <{uri}>' if who.isalpha() else f"<{uri}>"

    def token(self, *parts: str, n: int = 10) -> str:
        """Return `n` hex digits that depend on the seed and the parts alone."""
        digest = hashlib.blake2b("\0".join((self.seed, *parts)).encode(), digest_size=16)
        return digest.hexdigest()[:n] + self.mark


def _device(box: str) -> int:
    return int(box.partition(".")[2] or 1)
