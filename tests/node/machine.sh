#!/bin/sh
# machine.sh COMMAND...: runs a command as root of what looks like a machine of its own: network, processes, mounts and
# control groups are its own, and so are /run and what it writes below /var. MISSEDCALL_NODE names the folder and
# MISSEDCALL_NODE_CGROUP the control group in which a kubelet may work; ADDRESS is that of the machine.
# Whatever it started ends with it, and it leaves nothing behind.
set -eu

ADDRESS=10.199.0.1
# What kubelets want of the kernel: of this machine's they get a copy.
TUNABLES="vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops
	kernel/keys/root_maxkeys kernel/keys/root_maxbytes"

if [ "${1:-}" = --inside ]; then
	shift
	ip link set lo up
	ip link add node0 type veth peer name outside
	ip address add "$ADDRESS/24" dev node0
	ip link set node0 up
	ip link set outside up
	ip route add default dev node0
	for name in ipv4/ip_forward bridge/bridge-nf-call-iptables; do echo 1 >"/proc/sys/net/$name"; done
	mount -t tmpfs run /run
	mkdir "$MISSEDCALL_NODE/var" "$MISSEDCALL_NODE/overlay" "$MISSEDCALL_NODE/sys"
	mount -t overlay -o "lowerdir=/var,upperdir=$MISSEDCALL_NODE/var,workdir=$MISSEDCALL_NODE/overlay" var /var
	: >"$MISSEDCALL_NODE/resolv.conf" # nobody is asked for names, and nobody waits for an answer
	[ ! -e /etc/resolv.conf ] || mount --bind "$MISSEDCALL_NODE/resolv.conf" /etc/resolv.conf
	for name in $TUNABLES; do
		copy=$MISSEDCALL_NODE/sys/$(basename "$name")
		cat "/proc/sys/$name" >"$copy"
		mount --bind "$copy" "/proc/sys/$name"
	done
	"$@" # no exec: process 1 takes what others leave
	exit
fi

if [ "$(id -u)" != 0 ]; then
	echo "node: a machine of its own needs root"
	exit 1
fi
MISSEDCALL_NODE=$(mktemp -d "${TMPDIR:-/tmp}/missedcall-node-XXXXXX")
MISSEDCALL_NODE_CGROUP=$(basename "$MISSEDCALL_NODE")
export MISSEDCALL_NODE MISSEDCALL_NODE_CGROUP ADDRESS
GROUPS_AT=/sys/fs/cgroup
[ -e $GROUPS_AT/cgroup.controllers ] || GROUPS_AT="$GROUPS_AT/*"

leave() {
	for at in $GROUPS_AT; do
		[ ! -d "$at/$MISSEDCALL_NODE_CGROUP" ] || find "$at/$MISSEDCALL_NODE_CGROUP" -depth -type d -exec rmdir {} +
	done
	rm -rf "$MISSEDCALL_NODE"
}
trap leave EXIT
trap 'exit 130' HUP INT TERM
for at in $GROUPS_AT; do
	[ ! -e "$at/cgroup.procs" ] || mkdir "$at/$MISSEDCALL_NODE_CGROUP"
	for name in cpuset.cpus cpuset.mems; do
		[ ! -e "$at/$name" ] || cat "$at/$name" >"$at/$MISSEDCALL_NODE_CGROUP/$name"
	done
done
unshare --net --mount --uts --ipc --pid --fork --kill-child --mount-proc sh "$0" --inside "$@"
