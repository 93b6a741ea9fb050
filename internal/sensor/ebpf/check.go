package ebpf

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// Check reports whether this process on this kernel can run the sensor: nil, or one line that says what is missing. A
// missing cgroup v2 hierarchy is not fatal and shows in [Source.Hooks]: DNS is not seen then.
func Check() error {
	status, err := os.Open("/proc/self/status")
	if err != nil {
		return fmt.Errorf("reading the capabilities: %w", err)
	}
	defer status.Close()
	lines := bufio.NewScanner(status)
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "CapEff:")
		if !ok {
			continue
		}
		effective, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
		if err != nil {
			return fmt.Errorf("reading the capabilities: %w", err)
		}
		if missing := missingCapabilities(effective); missing != nil {
			return fmt.Errorf("the eBPF sensor needs to run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; missing: %s", strings.Join(missing, ", "))
		}
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		return errors.New("the eBPF sensor needs a kernel with BTF (CONFIG_DEBUG_INFO_BTF): there is no /sys/kernel/btf/vmlinux")
	}
	switch err := features.HaveProgramHelper(ebpf.RawTracepoint, asm.FnLoop); {
	case errors.Is(err, ebpf.ErrNotSupported):
		return errors.New("the eBPF sensor needs Linux 5.17 or newer: this kernel lacks bpf_loop")
	case err != nil:
		return fmt.Errorf("the eBPF sensor cannot load BPF programs here: %w", err)
	}
	return nil
}

// missingCapabilities names the capabilities that are needed and not in the set. CAP_SYS_ADMIN stands for all of them.
func missingCapabilities(effective uint64) (missing []string) {
	has := func(c int) bool { return effective&(1<<c) != 0 }
	if has(unix.CAP_SYS_ADMIN) {
		return nil
	}
	for _, c := range []struct {
		number int
		name   string
	}{{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_PERFMON, "CAP_PERFMON"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}} {
		if !has(c.number) {
			missing = append(missing, c.name)
		}
	}
	return missing
}
