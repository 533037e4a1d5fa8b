#!/bin/sh
# Puts the lab's programs on this machine: Debian packages, as root. Nothing of them is started, now or at boot.
# Ends with 0 if they are there afterwards; otherwise it says why not and ends with 1.
set -eu

PACKAGES="kamailio sip-tester baresip-core tcpdump slapd ldap-utils
	postfix dovecot-core dovecot-imapd dovecot-lmtpd dovecot-sieve prometheus"
POLICY=/usr/sbin/policy-rc.d

absent=""
for package in $PACKAGES; do
	dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || absent="$absent $package"
done
if [ -z "$absent" ]; then
	echo "lab: Kamailio, SIPp, baresip, tcpdump, OpenLDAP, Postfix, Dovecot and promtool are here"
	exit 0
fi
if [ "${LAB:-}" = no ]; then
	echo "lab: LAB=no, so these are not installed:$absent"
	exit 1
fi
if ! command -v apt-get >/dev/null; then
	echo "lab: this is no Debian; the tests with real SIP, mail and LDAP programs need:$absent"
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "lab: the tests with real SIP, mail and LDAP programs need root to install:$absent (sudo make lab)"
	exit 1
fi

# The lab starts programs of its own; the packages' services must not listen on this machine's addresses.
if [ ! -e "$POLICY" ]; then
	trap 'rm -f "$POLICY"' EXIT
	trap 'exit 1' HUP INT TERM
	printf '#!/bin/sh\nexit 101\n' >"$POLICY"
	chmod 755 "$POLICY"
fi
export DEBIAN_FRONTEND=noninteractive
echo "lab: installing$absent"
# no main.cf of Debian's: our Postfix has one of its own, and another mail system's is left alone
if command -v debconf-set-selections >/dev/null; then
	echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
fi
apt-get -q -o DPkg::Lock::Timeout=60 update >/dev/null || echo "lab: the package lists are old"
# shellcheck disable=SC2086 # a list of names
if ! apt-get -q -y -o DPkg::Lock::Timeout=60 install --no-install-recommends $absent >/dev/null; then
	echo "lab: apt-get could not install:$absent"
	exit 1
fi
for service in kamailio slapd postfix dovecot prometheus; do
	case "$absent" in
	*$service*) if command -v systemctl >/dev/null; then systemctl --quiet disable $service.service 2>/dev/null || true; fi ;;
	esac
done
echo "lab: installed$absent"
