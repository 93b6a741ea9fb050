package actor

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// say connects to an address and sends a line, whether or not anybody listens: say ADDRESS TEXT.
func say(args []string) error {
	if len(args) != 2 {
		return errors.New("say takes an address and a text")
	}
	at := now()
	c, err := net.DialTimeout("tcp", args[0], time.Second)
	if err == nil {
		_, err = io.WriteString(c, args[1]+"\n")
		c.Close()
	}
	report(at, "connect", args[0], err)
	return nil
}

// tor plays a relay and the relays around it: tor HOW LISTEN FIRST COUNT. The others' addresses are FIRST and the ones that
// follow it; all are this container's own.
func tor(args []string) error {
	if len(args) != 4 {
		return errors.New("tor takes outbound, inbound or both, an address to listen on, the first relay and how many there are")
	}
	first, err := netip.ParseAddr(args[2])
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(args[3])
	if err != nil || count < 1 {
		return fmt.Errorf("%q relays", args[3])
	}
	own, err := net.Listen("tcp", args[1])
	if err != nil {
		return err
	}
	defer own.Close()
	port := uint16(own.Addr().(*net.TCPAddr).Port)
	for relay, i := first, 0; i < count; relay, i = relay.Next(), i+1 {
		if args[0] == "inbound" || args[0] == "both" {
			if err := accept(own, relay, port); err != nil {
				return err
			}
		}
		if args[0] == "outbound" || args[0] == "both" {
			if err := connect([]string{"tcp", netip.AddrPortFrom(relay, 9001).String()}); err != nil {
				return err
			}
		}
	}
	return nil
}

// accept takes one connection, which comes from the given address.
func accept(own net.Listener, from netip.Addr, port uint16) error {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: time.Second}
	at := now()
	out, err := d.Dial("tcp", netip.AddrPortFrom(from, port).String())
	if err != nil {
		return err
	}
	defer out.Close()
	in, err := own.Accept()
	report(at, "accept", from.String(), err)
	if err != nil {
		return err
	}
	return in.Close()
}

// generated asks for names that an algorithm makes: dga SERVER COUNT. The generator is ours: letters with equal odds, as in
// many families.
func generated(args []string) error {
	if len(args) != 2 {
		return errors.New("dga takes a server and a number")
	}
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(20261123, 7))
	tops := []string{"com", "net", "org", "info", "biz"}
	for range count {
		var name strings.Builder
		for range 12 + random.IntN(9) {
			name.WriteByte(byte('a' + random.IntN(26)))
		}
		if err := lookup([]string{"udp", name.String() + "." + tops[random.IntN(len(tops))], args[0]}); err != nil {
			return err
		}
	}
	return nil
}

// stdio makes a descriptor all three standard streams.
func stdio(fd int) error {
	for stream := range 3 {
		if err := unix.Dup3(fd, stream, 0); err != nil {
			return err
		}
	}
	return nil
}
