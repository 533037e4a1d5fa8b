"""A real mail system on loopback: Postfix takes mail, Dovecot knows the users, stores it and shows it over IMAP.

Rule 1: everything is in one temporary folder and on free ports; the machine's own mail, if any, is left alone.
Rule 2: both run below timeout(1) and are ended by their own process ids.
"""

import asyncio
import email
import email.policy
import imaplib
import os
import random
import shutil
import signal
import socket
import tempfile
from pathlib import Path

import trustme

PROGRAMS = {"postfix": "postfix", "dovecot": "dovecot-core"}
PLUGINS = {
    "/usr/lib/dovecot/imap": "dovecot-imapd",
    "/usr/lib/dovecot/lmtp": "dovecot-lmtpd",
    "/usr/bin/sievec": "dovecot-sieve",
}
LIFE_S = 600
"""Neither lives longer, whatever becomes of this process."""

USER, PASSWORD = "notifier", "geheim"
PATH = "/usr/sbin:/sbin:/usr/bin:/bin"

DOVECOT = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
default_internal_user = dovecot
default_login_user = dovenull
mail_location = maildir:{folder}/mail/%u
mail_fsync = never
auth_username_format = %Lu
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={folder}/home/%u allow_all_users=yes
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
service auth {{
  inet_listener {{
    address = 127.0.0.1
    port = {auth}
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
protocol lmtp {{
  mail_plugins = sieve
}}
plugin {{
  sieve_before = {folder}/duplicate.sieve
  sieve_extensions = +duplicate
}}
"""
SIEVE = """\
require "duplicate";
if duplicate { discard; }
"""
"""RFC 7352: by Message-ID alone."""

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
mail_owner = postfix
setgid_group = postdrop
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
meta_directory = /etc/postfix
shlib_directory = /usr/lib/postfix
myhostname = mail.example.com
mydestination =
mynetworks =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = example.com
virtual_mailbox_maps = static:ok
virtual_transport = lmtp:inet:127.0.0.1:{lmtp}
smtpd_tls_cert_file = {folder}/cert.pem
smtpd_tls_key_file = {folder}/key.pem
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{auth}
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
minimal_backoff_time = 1s
queue_run_delay = 1s
lmtp_destination_recipient_limit = 1
lmtp_destination_concurrency_limit = 1
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
"""
MASTER = """\
127.0.0.1:{smtp} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
tlsmgr unix - - n 1000? 1 tlsmgr
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
"""


def missing() -> str:
    """Say why there can be no mail system here; "" if there can."""
    absent = {package for name, package in PROGRAMS.items() if shutil.which(name, path=PATH) is None}
    absent |= {package for path, package in PLUGINS.items() if not Path(path).exists()}
    if absent:
        return f"not installed: {', '.join(sorted(absent))} (make lab)"
    return "" if os.geteuid() == 0 else "Postfix's master needs root"


class MailSystem:
    """Use as an async context manager."""

    def __init__(self, *users: str) -> None:
        """`users`: mail addresses below example.com that there will be mail for."""
        self.users = users
        self.folder = Path(tempfile.mkdtemp(prefix="missedcall-mail-"))
        names = ("smtp", "lmtp", "imap", "auth")
        self._ports = dict(zip(names, _free_ports(len(names)), strict=True))
        self._processes: list[asyncio.subprocess.Process] = []

    @property
    def port(self) -> int:
        """Where Postfix takes mail, with STARTTLS and login."""
        return self._ports["smtp"]

    @property
    def ca_file(self) -> str:
        return str(self.folder / "ca.pem")

    @property
    def password_file(self) -> str:
        return str(self.folder / "password")

    async def __aenter__(self):
        self._write()
        try:
            await self._start("sievec", "sievec", str(self.folder / "duplicate.sieve"))
            await self._processes.pop().wait()
            await self._start("dovecot", "dovecot", "-F", "-c", str(self.folder / "dovecot.conf"))
            master = "/usr/lib/postfix/sbin/master"
            await self._start("postfix", master, "-c", str(self.folder / "postfix"), "-d")
            for port in self._ports.values():
                await self._listens(port)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_):
        for process in reversed(self._processes):
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def mails(self, user: str) -> list[email.message.EmailMessage]:
        """Read a mailbox over IMAP, as a mail program does. Blocks."""
        with imaplib.IMAP4("127.0.0.1", self._ports["imap"], timeout=20) as box:
            box.login(user, PASSWORD)
            box.select("INBOX", readonly=True)
            _, [found] = box.search(None, "ALL")
            if not found:
                return []
            _, answers = box.fetch(found.replace(b" ", b",").decode(), "(BODY.PEEK[])")
            raws = [answer[1] for answer in answers if isinstance(answer, tuple)]
        return [email.message_from_bytes(raw, policy=email.policy.default) for raw in raws]

    async def settled(self, within_s: float = 60.0) -> None:
        """Return when Postfix's queue is empty: what it accepted is stored or discarded."""
        queues = [self.folder / "queue" / name for name in ("maildrop", "incoming", "active", "deferred")]
        async with asyncio.timeout(within_s):
            while any(path.is_file() for queue in queues for path in queue.rglob("*")):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    def stored(self) -> int:
        """How many mails Dovecot was handed, repeats included."""
        return (self.folder / "postfix.log").read_text().count("status=sent")

    def log(self) -> str:
        names = ("postfix.log", "dovecot.log", "postfix.out", "dovecot.out")
        texts = ((self.folder / name) for name in names)
        return "\n".join(path.read_text(errors="replace")[-4000:] for path in texts if path.exists())

    def _write(self) -> None:
        folder = self.folder
        folder.chmod(0o755)
        for name in ("mail", "home"):
            (folder / name).mkdir()
            shutil.chown(folder / name, "nobody", "nogroup")
        for user in self.users:  # where the store remembers Message-IDs; Dovecot does not make it
            (folder / "home" / user).mkdir()
            shutil.chown(folder / "home" / user, "nobody", "nogroup")
        (folder / "state").mkdir()
        (folder / "postfix").mkdir()
        (folder / "data").mkdir()
        shutil.chown(folder / "data", "postfix")
        (folder / "queue").mkdir()
        for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private",
                     "saved", "trace"):  # fmt: skip
            (folder / "queue" / name).mkdir(mode=0o700)
            shutil.chown(folder / "queue" / name, "postfix")
        for name in ("maildrop", "public"):
            (folder / "queue" / name).mkdir(mode=0o710)
            shutil.chown(folder / "queue" / name, "postfix", "postdrop")
        (folder / "queue" / "pid").mkdir()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(str(folder / "key.pem"))
        for blob in issued.cert_chain_pems:
            blob.write_to_path(str(folder / "cert.pem"), append=True)
        (folder / "password").write_text(PASSWORD)
        (folder / "duplicate.sieve").write_text(SIEVE)
        values = {"folder": folder, "password": PASSWORD, **self._ports}
        (folder / "dovecot.conf").write_text(DOVECOT.format(**values))
        (folder / "postfix" / "main.cf").write_text(MAIN.format(**values))
        (folder / "postfix" / "master.cf").write_text(MASTER.format(**values))

    async def _start(self, name: str, *argv: str) -> None:
        with (self.folder / f"{name}.out").open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                "timeout",
                "--foreground",
                str(LIFE_S),
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={"PATH": PATH},
                start_new_session=True,
            )
        self._processes.append(process)

    async def _listens(self, port: int, within_s: float = 20.0) -> None:
        try:
            async with asyncio.timeout(within_s):
                while True:
                    try:
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                    except OSError:
                        await asyncio.sleep(0.02)
                    else:
                        writer.close()
                        return
        except TimeoutError:
            raise AssertionError(f"nobody listens on port {port}\n{self.log()}") from None


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class Cutter:
    """A proxy before a relay that swallows some of the relay's answers, and cuts the connection there."""

    def __init__(self, port: int, share: float, chance: random.Random) -> None:
        """`share` of the answers are swallowed; a mail has four, and a connection some more."""
        self._to = port
        self._share = share
        self._chance = chance
        self.cut = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)

        async def there():
            while data := await reader.read(65536):
                far_writer.write(data)
                await far_writer.drain()

        async def back():
            while data := await far_reader.read(65536):
                if self._chance.random() < self._share:
                    self.cut += 1
                    return
                writer.write(data)
                await writer.drain()

        tasks = [asyncio.ensure_future(there()), asyncio.ensure_future(back())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.transport.abort()
        far_writer.close()
