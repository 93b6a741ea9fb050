package pattern

import "encoding/binary"

// address is an IP address: 32 bits in lo, or 128 bits when v6 is set.
type address struct {
	key
	v6 bool
}

// parseAddress reads an IP literal, IPv4 dotted or IPv6 in hexadecimal groups. An IPv4-mapped IPv6 address is the IPv4
// address. Anything else (zones, dotted tails, leading zeros in IPv4) is not an address but a plain string.
func parseAddress(s string) (address, bool) {
	if len(s) < 2 || len(s) > 39 {
		return address{}, false
	}
	for i := 0; i < len(s) && i < 5; i++ {
		switch s[i] {
		case '.':
			return parseV4(s)
		case ':':
			return parseV6(s)
		}
	}
	return address{}, false
}

func parseV4(s string) (address, bool) {
	var a uint64
	parts := 0
	for i := 0; i < len(s); parts++ {
		if parts > 0 {
			if s[i] != '.' {
				return address{}, false
			}
			i++
		}
		start, n := i, 0
		for i < len(s) && s[i] >= '0' && s[i] <= '9' && i-start < 4 {
			n = n*10 + int(s[i]-'0')
			i++
		}
		if i == start || n > 255 || (i-start > 1 && s[start] == '0') {
			return address{}, false
		}
		a = a<<8 | uint64(n)
	}
	return address{key: key{lo: a}}, parts == 4
}

func parseV6(s string) (address, bool) {
	var b [16]byte
	n, gap := 0, -1
	i := 0
	if s[0] == ':' {
		if s[1] != ':' {
			return address{}, false
		}
		gap, i = 0, 2
	}
	for i < len(s) {
		if n == 16 {
			return address{}, false
		}
		v, start := rune(0), i
		for i < len(s) && i-start < 5 && hexDigit(s[i]) >= 0 {
			v = v<<4 | hexDigit(s[i])
			i++
		}
		if i == start || i-start > 4 {
			return address{}, false
		}
		b[n], b[n+1] = byte(v>>8), byte(v)
		n += 2
		if i == len(s) {
			break
		}
		if s[i] != ':' {
			return address{}, false
		}
		if i++; i == len(s) {
			return address{}, false
		}
		if s[i] == ':' {
			if gap >= 0 {
				return address{}, false
			}
			gap = n
			i++
		}
	}
	if gap >= 0 {
		if n == 16 {
			return address{}, false
		}
		copy(b[16-(n-gap):], b[gap:n])
		clear(b[gap : gap+16-n])
	} else if n != 16 {
		return address{}, false
	}
	k := key{hi: binary.BigEndian.Uint64(b[:8]), lo: binary.BigEndian.Uint64(b[8:])}
	if k.hi == 0 && k.lo>>32 == 0xffff {
		return address{key: key{lo: k.lo & 0xffffffff}}, true
	}
	return address{key: k, v6: true}, true
}

// block returns the first and the last address of the block that a is in, whose network part has that many bits.
func (a address) block(bits int) (first, last key) {
	var host key
	switch {
	case !a.v6:
		host.lo = 1<<(32-bits) - 1
	case bits >= 64:
		host.lo = 1<<(128-bits) - 1
	default:
		host.lo = ^uint64(0)
		host.hi = 1<<(64-bits) - 1
	}
	return key{a.hi &^ host.hi, a.lo &^ host.lo}, key{a.hi | host.hi, a.lo | host.lo}
}
