package encap

import (
	"bytes"
	"errors"
	"testing"
)

func TestHeaderBytes(t *testing.T) {
	b := bytes.Repeat([]byte{0xee}, HeaderLen+1)
	Header{VNI: 0x123456}.Put(b)
	if want := []byte{8, 0, 0, 0, 0x12, 0x34, 0x56, 0, 0xee}; !bytes.Equal(b, want) {
		t.Errorf("% x, want % x", b, want)
	}
}

func TestParseHeader(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		vni  VNI
		err  error
	}{
		{"plain", []byte{8, 0, 0, 0, 0, 0x10, 0, 0}, 4096, nil},
		{"with a frame behind", []byte{8, 0, 0, 0, 0xff, 0xff, 0xff, 0, 1, 2, 3}, MaxVNI, nil},
		{"VNI zero", []byte{8, 0, 0, 0, 0, 0, 0, 0}, 0, nil},
		{"empty", nil, 0, ErrTruncated},
		{"seven bytes", []byte{8, 0, 0, 0, 0, 0x10, 0}, 0, ErrTruncated},
		{"no I flag", []byte{0, 0, 0, 0, 0, 0x10, 0, 0}, 0, ErrFlags},
		{"GPE: P flag and next protocol IPv4", []byte{0x0c, 0, 0, 1, 0, 0x10, 0, 0}, 0, ErrFlags},
		{"GPE: O flag", []byte{9, 0, 0, 0, 0, 0x10, 0, 0}, 0, ErrFlags},
		{"GBP: G flag and group policy", []byte{0x88, 0, 0, 7, 0, 0x10, 0, 0}, 0, ErrFlags},
		{"next protocol without P", []byte{8, 0, 0, 3, 0, 0x10, 0, 0}, 0, ErrFlags},
		{"bits beside the VNI (remote checksum offload)", []byte{8, 0, 0, 0, 0, 0x10, 0, 0x81}, 0, ErrFlags},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := ParseHeader(c.in)
			if !errors.Is(err, c.err) || h.VNI != c.vni {
				t.Errorf("%+v, %v; want VNI %d, %v", h, err, c.vni, c.err)
			}
		})
	}
}

// FuzzParseHeader: what is taken is what Put writes, and nothing else is.
func FuzzParseHeader(f *testing.F) {
	f.Add([]byte{8, 0, 0, 0, 0, 0x10, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			if (len(b) < HeaderLen) != errors.Is(err, ErrTruncated) || (len(b) >= HeaderLen) != errors.Is(err, ErrFlags) {
				t.Fatalf("% x: %v", b, err)
			}
			return
		}
		var again [HeaderLen]byte
		h.Put(again[:])
		if !bytes.Equal(again[:], b[:HeaderLen]) {
			t.Fatalf("% x was taken for % x", b[:HeaderLen], again)
		}
	})
}
