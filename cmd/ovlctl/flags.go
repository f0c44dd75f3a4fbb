package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ovlnet/ovl/encap"
)

// The functions here define flags whose values have a form; each refuses
// what has not, in words that say which form.

// addValues defines a flag that can be repeated.
func addValues[T any](fs *pflag.FlagSet, to *[]T, flag, text string, parse func(string) (T, error)) {
	fs.Func(flag, text+"; repeatable", func(s string) error {
		v, err := parse(s)
		if err == nil {
			*to = append(*to, v)
		}
		return err
	})
}

// addPairs defines a repeatable flag KEY=VALUE.
func addPairs[T any](fs *pflag.FlagSet, to *map[string]T, flag, text string, parse func(string) (T, error)) {
	fs.Func(flag, text+"; repeatable", func(s string) error {
		key, value, ok := strings.Cut(s, "=")
		if !ok || key == "" {
			return fmt.Errorf("it is not of the form KEY=VALUE")
		}
		if _, twice := (*to)[key]; twice {
			return fmt.Errorf("%s is given twice", key)
		}
		v, err := parse(value)
		if err != nil {
			return err
		}
		if *to == nil {
			*to = make(map[string]T)
		}
		(*to)[key] = v
		return nil
	})
}

func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("it is not a prefix such as 10.1.0.0/24 or fd00:1::/64")
	}
	return p, nil
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, fmt.Errorf("it is not an IP address such as 10.1.0.7 or fd00:1::7")
	}
	return a, nil
}

func parseText(s string) (string, error) { return s, nil }

func addMAC(fs *pflag.FlagSet, to *encap.MAC, flag, text string) {
	fs.Func(flag, text, func(s string) (err error) {
		*to, err = encap.ParseMAC(s)
		return err
	})
}

// addNumber defines a flag that takes lowest to highest.
func addNumber[T int | uint16](fs *pflag.FlagSet, to *T, flag, text string, lowest, highest int) {
	fs.Func(flag, text, func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < lowest || n > highest {
			return fmt.Errorf("it is not in %d..%d", lowest, highest)
		}
		*to = T(n)
		return nil
	})
}

func addMTU(fs *pflag.FlagSet, to *int) {
	addNumber(fs, to, "mtu", "largest IP packet in `bytes` (default: the underlay's less the tunnel headers)", encap.MinMTU, encap.MaxMTU)
}

func addPort(fs *pflag.FlagSet, to *uint16, flag, text string) {
	addNumber(fs, to, flag, fmt.Sprintf("%s (default %d)", text, *to), 1, 65535)
}
