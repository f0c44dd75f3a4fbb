#!/usr/bin/env bash
# Three hosts on one machine, an overlay between them, and what it does.
# `make demo` runs it, as root. Its arguments are each agent's, such as
# --datapath userspace. Everything that it makes is called ovldemo-… or
# belongs to the instances demo-h1 to demo-h3; that, and nothing else, is
# removed at the end, and at the beginning, should an earlier run have been
# killed.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/bin:$PATH:/usr/sbin:/sbin

hosts=(1 2 3)
network=shop
up=("$@")
work=/run/ovldemo # logs, and what was measured

# ---- how the story is told -------------------------------------------------

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi

say()  { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
note() { printf '%s\n' "$*"; }
# run shows a command, then runs it.
run()  { show "$@"; "$@"; }
show() { printf '%s$ %s%s\n' "$dim" "$*" "$plain"; }

# in_host N COMMAND... runs in host N. `ip netns exec` would hide the BPF file
# system, nsenter does not.
in_host() { local h=$1; shift; nsenter --net="/run/netns/ovldemo-h$h" -- "$@"; }
in_ns()   { local n=$1; shift; nsenter --net="/run/netns/ovldemo-$n" -- "$@"; }
ctl()     { local h=$1; shift; ovlctl --instance "demo-h$h" "$@"; }

# ---- leaving nothing behind ------------------------------------------------

# processes prints those that run in the demo's namespaces, and agents that
# have not got there yet.
processes() {
	local ns
	for ns in $(ip netns list | awk '/^ovldemo-/ { print $1 }'); do
		ip netns pids "$ns"
	done
	pgrep -f -- '^[^ ]*ovlctl up --instance demo-h[123]( |$)' || true
}

cleanup() {
	local h ns pid pids
	for h in "${hosts[@]}"; do
		# Where the host is gone there is nothing left to take down but files.
		if [ -e "/run/netns/ovldemo-h$h" ] && [ -e "/var/lib/ovl-demo-h$h" ]; then
			in_host "$h" timeout 20 ovlctl --instance "demo-h$h" down --force >/dev/null 2>&1 || true
		fi
	done
	pids=$(processes | sort -un)
	for pid in $pids; do kill "$pid" 2>/dev/null || true; done
	for pid in $pids; do
		for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
		kill -9 "$pid" 2>/dev/null || true
	done
	for ns in $(ip netns list | awk '/^ovldemo-/ { print $1 }'); do
		ip netns delete "$ns" || true
	done
	for h in "${hosts[@]}"; do
		rm -rf "/run/ovl-demo-h$h" "/run/ovl-demo-h$h.hold" "/run/ovl-demo-h$h.flows" "/var/lib/ovl-demo-h$h" "/sys/fs/bpf/ovl-demo-h$h"
	done
	rm -rf "$work"
}

finish() {
	local status=$?
	trap - EXIT
	trap '' INT TERM HUP
	case $status in
	0) ;;
	130 | 143) say "Stopped. Taking everything down." ;;
	*)
		tail -n 5 "$work"/h*.log || true
		say "Failed. Taking everything down."
		;;
	esac
	cleanup
	exit $status
}

if [ "$(id -u)" -ne 0 ]; then
	echo "the demo makes network namespaces: run it as root" >&2
	exit 1
fi
# The lock is on the script itself, so that it leaves no file. What a killed
# run was just measuring may hold it for a few seconds more.
exec 9<docs/demo.sh
if ! flock -w 10 9; then
	echo "another demo is running" >&2
	exit 1
fi
cleanup
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir -m 700 "$work"

# ---- the hosts -------------------------------------------------------------

say "Three hosts, as network namespaces, on one switch"
ip netns add ovldemo-switch
in_ns switch ip link add br0 type bridge
in_ns switch ip link set br0 up
for h in "${hosts[@]}"; do
	ip netns add "ovldemo-h$h"
	in_ns switch ip link add "h$h" type veth peer name eth0 netns "ovldemo-h$h"
	in_ns switch ip link set "h$h" master br0 up
	in_host "$h" ip link set lo up
	in_host "$h" ip address add "192.0.2.$h/24" dev eth0
	in_host "$h" ip link set eth0 up
	note "  host h$h has 192.0.2.$h"
done

say "An agent on each. The first one starts the cluster…"
show ovlctl up --name h1 "${up[@]}"
in_host 1 ovlctl up --instance demo-h1 --name h1 --advertise eth0 "${up[@]}" 9>&- >"$work/h1.log" 2>&1 &
# until TRIES COMMAND... waits in steps of 50 ms.
until_done() {
	local tries=$1; shift
	for _ in $(seq "$tries"); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done
	echo "gave up waiting for: $*" >&2
	return 1
}
until_done 200 ctl 1 status
token=$(ctl 1 token create)
say "…and gives out a token, with which the others join"
for h in 2 3; do
	show ovlctl up --name "h$h" --join 192.0.2.1 --token "${token:0:12}…" "${up[@]}"
	in_host "$h" ovlctl up --instance "demo-h$h" --name "h$h" --advertise eth0 \
		--join 192.0.2.1 --token "$token" "${up[@]}" 9>&- >"$work/h$h.log" 2>&1 &
done
for h in 2 3; do until_done 200 ctl "$h" status; done
know_all() { [ "$(ctl "$1" peers -o json | grep -c '"alive"')" -eq 2 ]; }
for h in "${hosts[@]}"; do until_done 200 know_all "$h"; done
run ovlctl --instance demo-h1 peers

# ---- a network -------------------------------------------------------------

say "A network, made on h1, is known everywhere"
run ovlctl --instance demo-h1 network create "$network"
run ovlctl --instance demo-h3 network ls

say "Two endpoints on each host. Here they are namespaces; --pid takes a container"
addresses=()
names=()
for h in "${hosts[@]}"; do
	for e in web db; do
		ip netns add "ovldemo-$e$h"
		in_ns "$e$h" ip link set lo up
		show "ovlctl attach $network --netns $e$h        (on h$h)"
		ctl "$h" attach "$network" --netns "ovldemo-$e$h" --name "$e$h" >/dev/null
		names+=("$e$h")
		addresses+=("$(in_ns "$e$h" ip -4 -brief address show dev eth0 | awk '{ sub("/.*", "", $3); print $3 }')")
	done
done
run ovlctl --instance demo-h2 endpoint ls

say "Every pair pings, the first packet included"
lost=0
printf '%10s' ''
printf '%7s' "${names[@]}"
echo
for i in "${!names[@]}"; do
	printf '%10s' "${names[i]}"
	for j in "${!names[@]}"; do
		if [ "$i" = "$j" ]; then
			printf '%7s' ·
		elif in_ns "${names[i]}" ping -n -q -c 3 -i 0.02 -W 1 "${addresses[j]}" 2>&1 | grep ' 0% packet loss' >/dev/null; then
			printf '%7s' ok
		else
			printf '%7s' LOST
			lost=1
		fi
	done
	echo
done
[ "$lost" -eq 0 ] || { say "Pings were lost"; exit 1; }

# ---- a service, by its name ------------------------------------------------

say "A service, and a client on another host that knows nothing but its name"
run ovlctl --instance demo-h1 service create front --network "$network" --affinity client-ip
for h in 2 3; do
	in_ns "db$h" iperf3 --server --daemon --pidfile "$work/db$h.pid" 9>&-
	until_done 60 in_ns "db$h" sh -c 'ss -Hltn sport = :5201 | grep -q .'
done
show ovlctl --instance demo-h1 service update front --add-endpoint db2 --add-endpoint db3
ctl 1 service update front --add-endpoint db2 --add-endpoint db3 >/dev/null
# `ip netns exec` gives a program the resolv.conf that attach has written.
show "cat /etc/resolv.conf                            (in web1, on h1)"
ip netns exec ovldemo-web1 cat /etc/resolv.conf
show "getent ahostsv4 front"
ip netns exec ovldemo-web1 getent ahostsv4 front
show "dig +noall +answer tasks.front"
ip netns exec ovldemo-web1 dig +noall +answer tasks.front
show "iperf3 --client front"
ip netns exec ovldemo-web1 iperf3 --client front --connect-timeout 3000 --bytes 100M 9>&- | grep -E 'connected|receiver'
run ovlctl --instance demo-h1 flows --service front
for h in 2 3; do kill "$(tr -d '\0' <"$work/db$h.pid")"; done
run ovlctl --instance demo-h1 service rm front

# ---- speed -----------------------------------------------------------------

say "For comparison: the kernel's own vxlan device and a bridge, between the same hosts"
for h in 1 2; do
	ip netns add "ovldemo-vx$h"
	in_host "$h" ip link add vx0 type vxlan id 99 local "192.0.2.$h" dstport 8472 nolearning
	in_host "$h" ip link add vxbr type bridge
	in_host "$h" ip link set vx0 mtu 1450 master vxbr up
	in_host "$h" ip link set vxbr up
	in_host "$h" ip link add vxp type veth peer name eth0 netns "ovldemo-vx$h"
	in_host "$h" ip link set vxp mtu 1450 master vxbr up
	in_ns "vx$h" ip link set eth0 mtu 1450 up
	in_ns "vx$h" ip address add "198.51.100.$h/24" dev eth0
done
for h in 1 2; do
	mac=$(in_ns "vx$((3 - h))" ip -brief link show dev eth0 | awk '{ print $3 }')
	in_host "$h" bridge fdb append "$mac" dev vx0 dst "192.0.2.$((3 - h))"
	in_ns "vx$h" ip neigh replace "198.51.100.$((3 - h))" lladdr "$mac" dev eth0
done

# Sender and receiver each get a CPU, else the scheduler decides the race.
pin=()
[ "$(nproc)" -eq 1 ] || pin=(--affinity 0,1)

# throughput SERVER CLIENT ADDRESS sets gbits to what one TCP stream carries.
throughput() {
	# iperf3 chooses cubic once it is connected; bbr's pacing, where that is
	# the default, would stay with the connection.
	in_ns "$2" sysctl -qw net.ipv4.tcp_congestion_control=reno
	in_ns "$1" iperf3 --server --one-off 9>&- >"$work/server" 2>&1 &
	local server=$!
	until_done 60 in_ns "$1" sh -c 'ss -Hltn sport = :5201 | grep -q .'
	in_ns "$2" iperf3 --client "$3" --connect-timeout 3000 --congestion cubic --time 3 --format g \
		"${pin[@]}" >"$work/client"
	wait "$server"
	gbits=$(awk '/receiver/ { print $7 }' "$work/client")
}
note "One TCP stream from h1 to h2, twice each in turn, 3 seconds at a time:"
show "iperf3 --client …"
printf '%24s %20s\n' "ovl" "kernel vxlan + bridge"
for _ in 1 2; do
	throughput web2 web1 "${addresses[2]}"
	printf '%17s Gbit/s' "$gbits"
	throughput vx2 vx1 198.51.100.2
	printf ' %13s Gbit/s\n' "$gbits"
done
note "(a taste only; \`make bench\` measures properly)"

# ---- looking inside --------------------------------------------------------

if [ -e /sys/fs/bpf/ovl-demo-h1 ]; then
	say "What the kernel holds on h1: the forwarding table, readable"
	show "bpftool map dump pinned /sys/fs/bpf/ovl/ovl_fdb"
	bpftool map dump pinned /sys/fs/bpf/ovl-demo-h1/ovl_fdb >"$work/fdb"
	head -n 24 "$work/fdb"
	note "…"
else
	say "The agent forwards by itself. What the kernel does on h1: join an endpoint with its TAP"
	device=$(ctl 1 endpoint inspect web1 -o json | awk -F '"' '$2 == "Device" { print $4 }')
	show tc filter show dev "$device" ingress
	in_host 1 tc filter show dev "$device" ingress
fi
run ovlctl --instance demo-h1 status

# ---- the end ---------------------------------------------------------------

say "Taking everything down"
for h in 3 2 1; do
	show "ovlctl down        (on h$h)"
	ctl "$h" down
done
cleanup
for path in /run/netns/ovldemo-* /run/ovldemo /run/ovl-demo-h* /var/lib/ovl-demo-h* /sys/fs/bpf/ovl-demo-h*; do
	if [ -e "$path" ]; then
		say "Left behind: $path"
		exit 1
	fi
done
say "Done. Nothing of it is left on this machine."
