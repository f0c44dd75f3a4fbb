package report

import "slices"

// about says what each contender is, in the order of the page.
func about() []contenderText {
	return []contenderText{
		{"underlay", "no overlay: the hosts talk themselves. What machine and measuring programs can do"},
		{"limit", "no overlay either: bpf programs redirect between endpoint and underlay, and add no header. What any design like this could reach"},
		{"vxlan", "the kernel's vxlan device and a bridge, with static forwarding and neighbour entries: what Docker Swarm and flannel build, without what they put around it, and with the kernel's default for bridges, which passes frames by netfilter (bridge-nf-call-iptables). The ratios are taken against it"},
		{"external", "tc programs and one vxlan device in external mode, which is told each packet's tunnel: Cilium's way"},
		{"swarm", "Docker Swarm itself: a `dockerd` on each host, joined as a swarm, an attachable overlay network, a container on each host"},
		{"wireguard", "wireguard-go, built from its Go module: a tunnel in userspace, and the only contender that encrypts"},
		{"ovl", "`ovlctl up` on both hosts, kernel datapath, namespaces attached"},
		{"ovl-userspace", "`ovlctl up --datapath userspace` on both hosts: the same networks with a program in place of eBPF"},
		{"previous", "ovl as it was before a change"},
		{"ovl-vip", "the same as `ovl`, with services; what is measured goes to the VIP of one of them, whose backend is the other endpoint"},
		{"ovl-userspace-vip", "the same of `ovl-userspace`"},
		{"dnsmasq", "the `vxlan` contender with a gateway for names on the client's host: a namespace on the bridge with dnsmasq in it, which has 1 000 names in a hosts file. `ovl` and `ovl-userspace` have as many endpoints on a third host, and answer from the network's gateway. The ratios of names are taken against it"},
		{"nft-vip", "the `vxlan` contender with nftables rules in the client's host as kube-proxy has them in its nftables mode: a verdict map of VIPs and ports, chains for services and backends, DNAT and conntrack, and what comes back over the bridge passes them too. No masquerading, and no checks beside: the least that it takes"},
	}
}

type contenderText struct{ Name, Text string }

// Method says how some figures are measured.
type Method struct {
	// Figures are their names; what is measured over another underlay, or as
	// tables grow, is in the list too.
	Figures    []string
	What, Text string
}

// methods returns how each figure is measured, in the order of the page.
func methods() []Method {
	return []Method{
		{[]string{"tcp", "growth-tcp"}, "TCP, 1 stream",
			"iperf3, cubic without pacing, what the receiver got after the first 0.3 s"},
		{[]string{"tcp-8"}, "TCP, 8 streams",
			"the same, spread over as many iperf3 as there are CPUs, each on its own"},
		{[]string{"tcp-no-offload"}, "underlay without segmentation offload",
			"TSO, GSO and tunnel segmentation off on the underlay's devices, GRO on: a NIC without offloads"},
		{[]string{"tcp-jumbo"}, "underlay MTU 9000",
			"each contender with the inner MTU that this leaves it"},
		{[]string{"udp-64", "udp-1400", "growth-udp-64"}, "UDP packets",
			"a sender that hands the kernel 64 packets a call, on one CPU; packets a second that a program on the other side has read. 64 bytes are payload; 1400 are the whole inner packet"},
		{[]string{"udp-gso"}, "UDP, segmented by the kernel",
			"the sender hands over as many packets as fit into 64 KiB, and kernel or NIC cut them (UDP GSO): the way of QUIC"},
		{[]string{"rtt", "rtt-p99", "growth-rtt"}, "round trip, ICMP echo",
			"from before the request goes to the kernel until the reply is read. The other side's kernel answers: it is the path that is measured"},
		{[]string{"rtt-load", "rtt-load-p99"}, "round trip beside TCP",
			"the same while 1 Gbit/s of TCP goes the same way from the same CPU. Echoes are due at regular times, and have to wait for the stream's bursts"},
		{[]string{"rtt-udp", "rtt-udp-p99"}, "round trip, UDP between two programs",
			"sockperf ping-pong: the path, and the scheduler at both ends"},
		{[]string{"rr", "crr"}, "requests",
			"wrk asks a small HTTP server over connections that stay open, or over a new one for each request"},
		{[]string{"tcp-ipv6", "udp-64-ipv6", "rtt-ipv6", "rtt-ipv6-p99"}, "over IPv6",
			"the same as over IPv4, between the endpoints' IPv6 addresses, of the contenders whose endpoints have one; the underlay is the same"},
		{[]string{"tcp-cpu", "udp-cpu"}, "CPU time",
			"what both hosts, and the kernel for them, take for what arrives, at a rate that is not the highest; `wireguard`, which cannot bear that of TCP, is measured at what it can"},
		{[]string{"attach", "growth-attach"}, "from attach to the first packet",
			"from the call by which users attach an endpoint until it answers on the other host"},
		{[]string{"growth-fill"}, "time to fill the tables",
			"from the first of the remote endpoints until the tables of two hosts hold all; once a run"},
		{[]string{"growth-cpu-agent", "growth-memory-agent", "growth-memory-tables"}, "cost of full tables",
			"CPU time, once a run, and memory of the processes on one host when nothing happens, and of its tables in the kernel"},
		{[]string{"vip-crr", "vip-crr-direct", "vip-tcp", "vip-tcp-direct"}, "through a VIP",
			"the same client and the same server, straight and through the VIP, one after the other, in every other round in the other order, with 1, 1 000 and 10 000 services in the tables, each of which has a backend"},
		{[]string{"names-rate"}, "queries for names",
			"a client that keeps 64 queries on their way, each for the next of 1 000 names, to who answers on its own host; queries and answers go in batches, over one socket"},
		{[]string{"names-p50", "names-p99", "names-other-p99", "names-cpu"}, "answer to a query",
			"one endpoint asks every 50 µs, whatever the answers do, and a second one on the same host a thousand times a second, one query after the other. A time is from when a query is sent until the kernel has the answer for who asked; how soon that one gets to look is not in it. CPU time is that of the program that answers, and of the kernel for it"},
		{[]string{"vip-change"}, "change of a backend",
			"from the call that drains a service's only backend until the first new connection to the VIP is refused, and from the call that takes it back until the first succeeds; the median of several of both. `nft-vip` is told by the `nft` program. A connection is tried every 200 µs"},
	}
}

// Explained reports whether the page says how a figure is measured.
func Explained(figure string) bool {
	return slices.ContainsFunc(methods(), func(m Method) bool { return slices.Contains(m.Figures, figure) })
}

// Methods returns how the report's figures are measured.
func (r *Report) Methods() []Method {
	return slices.DeleteFunc(methods(), func(m Method) bool {
		return !slices.ContainsFunc(m.Figures, func(name string) bool { return r.figure(name) != nil })
	})
}
