package actor

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// connect connects to an address: connect HOW ADDRESS. That nobody answers is no error: the attempt is the attack. It must
// not be able to leave the container, which has no network.
func connect(args []string) error {
	if len(args) != 2 {
		return errors.New("connect takes tcp, nonblock, mapped, fastopen, udp or sendto, and an address")
	}
	how := args[0]
	peer, err := netip.ParseAddrPort(args[1])
	if err != nil {
		return err
	}
	kind := unix.SOCK_STREAM
	if how == "udp" || how == "sendto" {
		kind = unix.SOCK_DGRAM
	}
	if how == "nonblock" {
		kind |= unix.SOCK_NONBLOCK
	}
	family, address := sockaddr(peer, how == "mapped")
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	name, at := "connect", now()
	switch how {
	case "tcp", "udp", "nonblock", "mapped":
		err = unix.Connect(fd, address)
	case "sendto":
		name, err = "sendto", unix.Sendto(fd, []byte("vedette"), unix.MSG_NOSIGNAL, address)
	case "fastopen":
		name, err = "sendto", unix.Sendto(fd, []byte("GET / HTTP/1.0\r\n"), unix.MSG_FASTOPEN|unix.MSG_NOSIGNAL, address)
	default:
		return fmt.Errorf("no way %q to connect", how)
	}
	report(at, name, peer.String(), err)
	// Let the connection be for a moment, as a real one would.
	time.Sleep(10 * time.Millisecond)
	return nil
}

// sockaddr returns an address as the kernel takes it; mapped says an IPv4 one in IPv6's clothes.
func sockaddr(a netip.AddrPort, mapped bool) (int, unix.Sockaddr) {
	if a.Addr().Is4() && !mapped {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// connectUnix connects to a unix socket: unix HOW PATH.
func connectUnix(args []string) error {
	if len(args) != 2 {
		return errors.New("unix takes plain, link, relative or root, and a path")
	}
	path := args[1]
	switch args[0] {
	case "plain":
	case "link":
		link := fmt.Sprintf("/tmp/link-%d.sock", os.Getpid())
		if err := os.Symlink(path, link); err != nil {
			return err
		}
		defer os.Remove(link)
		path = link
	case "relative":
		dir, file := filepath.Split(path)
		if err := os.Chdir(dir); err != nil {
			return err
		}
		path = file
	case "root":
		path = "/proc/self/root" + path
	default:
		return fmt.Errorf("no way %q to connect", args[0])
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	at := now()
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	report(at, "connect", path, err)
	if err != nil {
		return nil // There need not be a socket: the attempt is the attack.
	}
	timeout := unix.Timeval{Sec: 2}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return err
	}
	if _, err := unix.Write(fd, []byte("GET /_ping HTTP/1.0\r\n\r\n")); err != nil {
		return err
	}
	var answer [256]byte
	if n, err := unix.Read(fd, answer[:]); err != nil || n == 0 {
		return fmt.Errorf("no answer from %s: %v", path, err)
	}
	return nil
}
