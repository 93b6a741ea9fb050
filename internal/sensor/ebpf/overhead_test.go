package ebpf

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/sensor"
)

// loops are what the overhead is measured on: each does one thing n times.
var loops = map[string]func(n int, file string) error{
	"getppid": func(n int, _ string) error {
		for range n {
			unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
		}
		return nil
	},
	"open for reading": func(n int, file string) error { return openLoop(n, file, unix.O_RDONLY) },
	"open for writing": func(n int, file string) error { return openLoop(n, file, unix.O_WRONLY) },
	"tcp": func(n int, _ string) error {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			return err
		}
		to := &unix.SockaddrInet4{Port: netipPort(l.Addr().String()), Addr: [4]byte{127, 0, 0, 1}}
		unix.SetNonblock(int(f.Fd()), false)
		for range n {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
			if err := unix.Connect(fd, to); err != nil {
				return err
			}
			a, _, err := unix.Accept(int(f.Fd()))
			if err != nil {
				return err
			}
			unix.Close(fd)
			unix.Close(a)
		}
		return nil
	},
	"exec": func(n int, _ string) error {
		for range n {
			pid, err := syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{Env: []string{"A=1"}})
			if err != nil {
				return err
			}
			if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
				return err
			}
		}
		return nil
	},
}

func openLoop(n int, file string, flags int) error {
	for range n {
		fd, err := unix.Open(file, flags, 0)
		if err != nil {
			return err
		}
		unix.Close(fd)
	}
	return nil
}

func init() {
	testers["loop"] = func(args []string) error {
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		start := time.Now()
		if err := loops[args[0]](n, args[2]); err != nil {
			return err
		}
		fmt.Println(time.Since(start).Nanoseconds())
		return nil
	}
}

// BenchmarkOverhead runs each loop with and without the sensor on the whole host and all kinds, in turns, and reports the
// median of the ratios, and what was lost. One iteration is one pair; run it with -benchtime=7x.
func BenchmarkOverhead(b *testing.B) {
	privileged(b)
	file := filepath.Join(b.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		n    int
	}{{"getppid", 1_000_000}, {"open for reading", 200_000}, {"open for writing", 200_000}, {"tcp", 10_000}, {"exec", 1_000}} {
		b.Run(c.name, func(b *testing.B) {
			run := func() float64 {
				out, err := testerCommand("loop", c.name, strconv.Itoa(c.n), file).Output()
				if err != nil {
					b.Fatal(err)
				}
				var ns float64
				fmt.Sscan(string(out), &ns)
				return ns / float64(c.n)
			}
			var without, with, ratios []float64
			var lost, delivered uint64
			var cpu time.Duration
			for b.Loop() {
				base := run()
				s, err := New(Options{Kinds: event.AllKinds})
				if err != nil {
					b.Fatal(err)
				}
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error, 1)
				go func() { done <- s.Run(ctx, func(*sensor.Record) {}) }()
				before := ownCPU()
				under := run()
				cpu += ownCPU() - before
				cancel()
				if err := <-done; err != nil {
					b.Fatal(err)
				}
				st := s.Stats()
				for k := range st.Dropped {
					lost += st.Dropped[k]
					delivered += st.Delivered[k]
				}
				s.Close()
				without, with, ratios = append(without, base), append(with, under), append(ratios, under/base)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(without), "ns-without")
			b.ReportMetric(median(with), "ns-with")
			b.ReportMetric(median(ratios), "ratio")
			b.ReportMetric(float64(lost), "lost")
			b.ReportMetric(float64(delivered), "delivered")
			b.ReportMetric(float64(cpu.Milliseconds())/float64(len(ratios)), "cpu-ms/run")
		})
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// ownCPU is what this process, not the loops it started, has used.
func ownCPU() time.Duration {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
