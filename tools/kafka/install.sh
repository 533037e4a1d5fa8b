#!/bin/sh
# Puts a Java runtime and Maven on this machine: Debian packages, as root.
# Ends with 0 if they are there afterwards; otherwise it says why not and ends with 1.
set -eu

absent=""
command -v java >/dev/null || absent="$absent default-jre-headless"
command -v mvn >/dev/null || absent="$absent maven"
if [ -z "$absent" ]; then
	echo "kafka: Java and Maven are here"
	exit 0
fi
if [ "${KAFKA:-}" = no ]; then
	echo "kafka: KAFKA=no, so these are not installed:$absent"
	exit 1
fi
if ! command -v apt-get >/dev/null; then
	echo "kafka: this is no Debian; a broker needs Java 17 or newer and Maven"
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "kafka: a broker needs root to install:$absent (sudo sh tools/kafka/install.sh)"
	exit 1
fi

export DEBIAN_FRONTEND=noninteractive
echo "kafka: installing$absent"
apt-get -q -o DPkg::Lock::Timeout=60 update >/dev/null || echo "kafka: the package lists are old"
# shellcheck disable=SC2086 # a list of names
if ! apt-get -q -y -o DPkg::Lock::Timeout=60 install --no-install-recommends $absent >/dev/null; then
	echo "kafka: apt-get could not install:$absent"
	exit 1
fi
echo "kafka: installed$absent"
