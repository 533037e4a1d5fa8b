"""A real OpenLDAP server on loopback with people in it; Debian's slapd, a process of ours."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

SLAPD = shutil.which("slapd") or shutil.which("slapd", path="/usr/sbin:/sbin")
ABSENT = (
    "OpenLDAP is not here: make lab installs slapd and ldap-utils (Debian, root)"
    if SLAPD is None or shutil.which("ldapsearch") is None
    else ""
)
BASE = "dc=example,dc=org"
READER = f"cn=missedcall,{BASE}"
PASSWORD = "correct horse"

CONFIG = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
attributetype ( 1.3.6.1.4.1.4203.666.1.1 NAME 'msRTCSIP-PrimaryUserAddress' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.3.6.1.4.1.4203.666.1.2 NAME 'msRTCSIP-Line' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.3.6.1.4.1.4203.666.1.3 NAME 'proxyAddresses' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.4203.666.1.4 NAME 'memberOf' SUP distinguishedName )
objectclass ( 1.3.6.1.4.1.4203.666.1.9 NAME 'lyncUser' AUXILIARY
  MAY ( msRTCSIP-PrimaryUserAddress $ msRTCSIP-Line $ proxyAddresses $ memberOf ) )
pidfile {folder}/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
{tls}
database mdb
suffix "{base}"
directory {folder}/data
maxsize 67108864
limits * size.soft=500 size.hard=500 size.prtotal=unlimited size.pr=1000
access to * by dn.exact="{reader}" read by anonymous auth by * none
"""


class Slapd:
    """Use as a context manager. Like Active Directory it gives at most some entries at once, or pages."""

    def __init__(self, folder: Path, ldif: str, tls: str = "") -> None:
        self.folder = folder
        self._config = folder / "slapd.conf"
        (folder / "data").mkdir()
        self._config.write_text(CONFIG.format(folder=folder, tls=tls, base=BASE, reader=READER))
        top = f"dn: {BASE}\nobjectClass: organization\nobjectClass: dcObject\ndc: example\no: Example\n\n"
        who = f"dn: {READER}\nobjectClass: person\ncn: missedcall\nsn: x\nuserPassword: {PASSWORD}\n\n"
        (folder / "people.ldif").write_text(top + who + ldif, encoding="utf-8")
        subprocess.run(
            [SLAPD, "-T", "add", "-q", "-f", str(self._config), "-l", str(folder / "people.ldif")],
            check=True,
            capture_output=True,
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"ldap://127.0.0.1:{self.port}"
        self._process = None

    def __enter__(self):
        with (self.folder / "slapd.log").open("wb") as log:
            self._process = subprocess.Popen(
                [SLAPD, "-f", str(self._config), "-h", self.url, "-d", "0"],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self._process.poll() is None, (self.folder / "slapd.log").read_text()
                assert time.monotonic() < until, "slapd does not listen"
                time.sleep(0.02)
            else:
                return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(20)
