#!/bin/sh
# Puts the lab's programs on this machine: Debian packages, as root. Nothing of them is started, now or at boot.
# Ends with 0 if they are there afterwards; otherwise it says why not and ends with 1.
set -eu

PACKAGES="kamailio sip-tester baresip-core tcpdump slapd ldap-utils"
POLICY=/usr/sbin/policy-rc.d

absent=""
for package in $PACKAGES; do
	dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || absent="$absent $package"
done
if [ -z "$absent" ]; then
	echo "lab: Kamailio, SIPp, baresip, tcpdump and OpenLDAP are here"
	exit 0
fi
if [ "${LAB:-}" = no ]; then
	echo "lab: LAB=no, so these are not installed:$absent"
	exit 1
fi
if ! command -v apt-get >/dev/null; then
	echo "lab: this is no Debian; the tests with real SIP programs and OpenLDAP need:$absent"
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "lab: the tests with real SIP programs and OpenLDAP need root to install:$absent (sudo make lab)"
	exit 1
fi

# The lab starts a Kamailio and a slapd of its own; the packages' services must not listen on this machine's addresses.
if [ ! -e "$POLICY" ]; then
	trap 'rm -f "$POLICY"' EXIT
	trap 'exit 1' HUP INT TERM
	printf '#!/bin/sh\nexit 101\n' >"$POLICY"
	chmod 755 "$POLICY"
fi
export DEBIAN_FRONTEND=noninteractive
echo "lab: installing$absent"
apt-get -q -o DPkg::Lock::Timeout=60 update >/dev/null || echo "lab: the package lists are old"
# shellcheck disable=SC2086 # a list of names
if ! apt-get -q -y -o DPkg::Lock::Timeout=60 install --no-install-recommends $absent >/dev/null; then
	echo "lab: apt-get could not install:$absent"
	exit 1
fi
case "$absent" in
*kamailio*) if command -v systemctl >/dev/null; then systemctl --quiet disable kamailio.service 2>/dev/null || true; fi ;;
esac
case "$absent" in
*slapd*) if command -v systemctl >/dev/null; then systemctl --quiet disable slapd.service 2>/dev/null || true; fi ;;
esac
echo "lab: installed$absent"
