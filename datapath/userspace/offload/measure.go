package offload

// Measure returns what a frame counts for: a GSO frame as the packets that it
// stands for, each with its headers, in bytes from the Ethernet header on. The
// kernel datapath counts the same (bpf/measure.h).
func Measure(f Frame) (packets, bytes uint64) {
	whole := uint64(len(f.Data))
	headers := gsoHeaders(f)
	if headers == 0 || len(f.Data) <= headers {
		return 1, whole
	}
	payload, size := whole-uint64(headers), uint64(f.GSOSize)
	packets = (payload + size - 1) / size
	return packets, payload + packets*uint64(headers)
}

// SegmentLen returns how long the largest packet is that the frame becomes on the
// wire, in bytes behind the Ethernet header: tags count, as they do in the kernel
// datapath (bpf/length.h), for they take room in the tunnel.
func SegmentLen(f Frame) int {
	n := len(f.Data)
	if headers := gsoHeaders(f); headers != 0 {
		n = min(n, headers+int(f.GSOSize))
	}
	return max(0, n-etherLen)
}

// gsoHeaders returns the length of what every segment repeats, 0 if there is
// nothing to cut.
func gsoHeaders(f Frame) int {
	var l layout
	if f.GSOType == GSONone || f.GSOSize == 0 || !l.parse(f.Data) {
		return 0
	}
	return l.payload
}
