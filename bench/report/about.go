package report

// about says what each contender is, in the order of the page.
func about() []contenderText {
	return []contenderText{
		{"underlay", "no overlay: the hosts talk themselves. What machine and measuring programs can do"},
		{"limit", "no overlay either: bpf programs redirect between endpoint and underlay, and add no header. What any design like this could reach"},
		{"vxlan", "the kernel's vxlan device and a bridge, with static forwarding and neighbour entries: what Docker Swarm and flannel build, at its best. The ratios are taken against it"},
		{"external", "tc programs and one vxlan device in external mode, which is told each packet's tunnel: Cilium's way"},
		{"swarm", "Docker Swarm itself: a `dockerd` on each host, joined as a swarm, an attachable overlay network, a container on each host"},
		{"wireguard", "wireguard-go, built from its Go module: a tunnel in userspace, and the only contender that encrypts"},
		{"ovl", "`ovlctl up` on both hosts, kernel datapath, namespaces attached"},
		{"ovl-userspace", "the same with the userspace datapath"},
	}
}

type contenderText struct{ Name, Text string }
