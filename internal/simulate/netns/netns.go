// Package netns prepares the network of a container that has none: it brings the loopback interface up and binds addresses
// to it, so that attacks on reserved documentation addresses are answered within the container and no packet can leave it.
//
// In go a process of the container and the addresses; nothing comes out. It never touches the caller's own network: it
// refuses a process that shares it.
package netns

import (
	"fmt"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/simulate/thread"
)

// Configure brings up the loopback interface in the network namespace of process pid and binds the addresses to it. An
// IPv4 prefix shorter than /32 makes every address in it local (the kernel does that for the loopback interface only).
func Configure(pid int, addresses []netip.Prefix) error {
	target, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return fmt.Errorf("opening network of process %d: %w", pid, err)
	}
	defer target.Close()
	if same, err := isOurs(target); err != nil {
		return err
	} else if same {
		return fmt.Errorf("process %d shares this process's network, which is left alone", pid)
	}
	return thread.Sacrifice(func() error {
		if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering network of process %d: %w", pid, err)
		}
		return Loopback(addresses)
	})
}

func isOurs(target *os.File) (bool, error) {
	var theirs, ours unix.Stat_t
	if err := unix.Fstat(int(target.Fd()), &theirs); err != nil {
		return false, fmt.Errorf("looking at %s: %w", target.Name(), err)
	}
	if err := unix.Stat("/proc/self/ns/net", &ours); err != nil {
		return false, fmt.Errorf("looking at own network: %w", err)
	}
	return theirs.Dev == ours.Dev && theirs.Ino == ours.Ino, nil
}

// Loopback does the work of Configure in the calling thread's own network namespace.
func Loopback(addresses []netip.Prefix) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("configuring loopback: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
		return fmt.Errorf("configuring loopback: %w", err)
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("configuring loopback: %w", err)
	}
	alias := 0
	for _, a := range addresses {
		if a.Addr().Unmap().Is4() {
			alias++
			err = add4(fd, fmt.Sprintf("lo:%d", alias), a)
		} else {
			err = add6(a)
		}
		if err != nil {
			return fmt.Errorf("binding %v to loopback: %w", a, err)
		}
	}
	return nil
}

func add4(fd int, name string, prefix netip.Prefix) error {
	address, bits := prefix.Addr().Unmap().As4(), prefix.Bits()
	if prefix.Addr().Is4In6() {
		bits -= 96
	}
	mask := ^uint32(0) << (32 - bits)
	for _, set := range []struct {
		call  uint
		value [4]byte
	}{
		{unix.SIOCSIFADDR, address},
		{unix.SIOCSIFNETMASK, [4]byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)}},
	} {
		request, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		if err := request.SetInet4Addr(set.value[:]); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, set.call, request); err != nil {
			return err
		}
	}
	return nil
}

// in6Ifreq is struct in6_ifreq of linux/ipv6.h.
type in6Ifreq struct {
	address [16]byte
	prefix  uint32
	index   int32
}

func add6(prefix netip.Prefix) error {
	// Engines switch IPv6 off in a container without a network. The file is the one of the thread's own namespace.
	switchOn := "/proc/sys/net/ipv6/conf/lo/disable_ipv6"
	if err := os.WriteFile(switchOn, []byte("0"), 0); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("switching IPv6 on: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request := in6Ifreq{address: prefix.Addr().As16(), prefix: uint32(prefix.Bits()), index: 1} // The loopback is always first.
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFADDR, uintptr(unsafe.Pointer(&request)))
	if errno != 0 && errno != unix.EEXIST {
		return errno
	}
	return nil
}
