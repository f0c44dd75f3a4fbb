package contender

import (
	"net/netip"
	"testing"
)

func TestNftRules(t *testing.T) {
	want := `table ip services {
	chain endpoint-0-tcp-5201 {
		meta l4proto tcp dnat to 192.0.2.2:5201
	}
	chain service-0-tcp-5201 {
		numgen random mod 1 vmap { 0 : goto endpoint-0-tcp-5201 }
	}
	chain endpoint-0-tcp-8081 {
		meta l4proto tcp dnat to 192.0.2.2:8081
	}
	chain service-0-tcp-8081 {
		numgen random mod 1 vmap { 0 : goto endpoint-0-tcp-8081 }
	}
	chain endpoint-0-udp-9000 {
		meta l4proto udp dnat to 192.0.2.2:9000
	}
	chain service-0-udp-9000 {
		numgen random mod 1 vmap { 0 : goto endpoint-0-udp-9000 }
	}
	chain endpoint-1 {
		meta l4proto tcp dnat to 192.0.2.2:80
	}
	chain service-1 {
		goto endpoint-1
	}
	map service-ips {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = {
10.96.0.1 . tcp . 5201 : goto service-0-tcp-5201,
10.96.0.1 . tcp . 8081 : goto service-0-tcp-8081,
10.96.0.1 . udp . 9000 : goto service-0-udp-9000,
10.96.0.2 . tcp . 80 : goto service-1,
}
	}
	map no-endpoints {
		type ipv4_addr . inet_proto . inet_service : verdict
	}
	chain refuse {
		meta l4proto tcp reject with tcp reset
		reject
	}
	chain filter-prerouting {
		type filter hook prerouting priority -110; policy accept;
		ct state new ip daddr . meta l4proto . th dport vmap @no-endpoints
	}
	chain services {
		ip daddr . meta l4proto . th dport vmap @service-ips
	}
	chain nat-prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		jump services
	}
}
`
	if got := nftRules(2, netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("192.0.2.2")); got != want {
		t.Errorf("the rules are\n%s\nwant\n%s", got, want)
	}
}
