package ebpf

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/event"
)

const (
	defaultLifecycleBytes = 2 << 20
	defaultActivityBytes  = 4 << 20
	maxRingBytes          = 1 << 30
)

// kernel is what the sensor has in the kernel: maps, programs and their attachments.
type kernel struct {
	cgroup    string // directory where the cgroup hooks are attached; empty where there is no v2 hierarchy
	hooks     []hook
	maps      map[string]*ebpf.Map
	snapshot  *ebpf.Program
	tracefs   *tracefs // opened when first needed
	control   *control
	lifecycle *ebpf.Map
	activity  *ebpf.Map
	lost      *ebpf.Map
	possible  int // CPUs
}

// control is the switches' map, shared with the programs.
type control struct {
	memory   []byte
	switches *bpfSwitches
}

func (c *control) setWanted(k event.Kinds) { atomic.StoreUint64(&c.switches.Wanted, uint64(k)) }
func (c *control) setSleeping(on uint32)   { atomic.StoreUint32(&c.switches.Sleeping, on) }

func ringSize(n, standard int) (uint32, error) {
	if n == 0 {
		n = standard
	}
	if n < 0 || n > maxRingBytes {
		return 0, fmt.Errorf("ring size %d is not between 1 and %d", n, maxRingBytes)
	}
	n = max(n, os.Getpagesize())
	return 1 << bits.Len(uint(n-1)), nil
}

// load creates the maps and loads every program by itself, so that one that this kernel refuses costs only its own events.
func load(opts Options) (_ *kernel, err error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("reading the BPF object: %w", err)
	}
	k := &kernel{hooks: hookTable(), maps: map[string]*ebpf.Map{}}
	defer func() {
		if err != nil {
			k.close()
		}
	}()

	if k.cgroup, err = cgroupRoot(); err != nil {
		return nil, err
	}
	var scopeID uint64
	if opts.Scope != "" {
		if k.cgroup, scopeID, err = findCgroup(k.cgroup, opts.Scope); err != nil {
			return nil, err
		}
	}
	lifecycleSize, err := ringSize(opts.LifecycleBytes, defaultLifecycleBytes)
	if err != nil {
		return nil, err
	}
	activitySize, err := ringSize(opts.ActivityBytes, defaultActivityBytes)
	if err != nil {
		return nil, err
	}
	spec.Maps[bpfMapLifecycle].MaxEntries = lifecycleSize
	spec.Maps[bpfMapActivity].MaxEntries = activitySize
	for name, value := range map[string]any{
		bpfVarScoped:        opts.Scope != "",
		bpfVarScopeId:       scopeID,
		bpfVarLifecycleMark: uint64(lifecycleSize / 4),
		bpfVarActivityMark:  uint64(activitySize / 4),
		bpfVarInetBySyscall: k.cgroup == "",
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("setting %s: %w", name, err)
		}
	}

	programs := spec.Programs
	spec.Programs = nil
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("creating the BPF maps: %w", err)
	}
	for name := range coll.Maps {
		k.maps[name] = coll.DetachMap(name)
	}
	coll.Close()
	k.lifecycle, k.activity, k.lost = k.maps[bpfMapLifecycle], k.maps[bpfMapActivity], k.maps[bpfMapLost]
	if k.possible, err = ebpf.PossibleCPU(); err != nil {
		return nil, fmt.Errorf("counting CPUs: %w", err)
	}
	if err := k.openControl(); err != nil {
		return nil, fmt.Errorf("mapping the switches: %w", err)
	}
	if opts.Scope != "" {
		if err := k.setScope(); err != nil {
			return nil, fmt.Errorf("scope %s: %w", k.cgroup, err)
		}
	}

	// The kernel's types take a while to read and megabytes to keep; they are shared while loading and dropped afterwards.
	types := btf.NewCache()
	one := func(name string) (*ebpf.Program, string, error) {
		ps, ok := programs[name]
		if !ok {
			return nil, name, errors.New("this architecture has no such system call")
		}
		spec.Programs = map[string]*ebpf.ProgramSpec{name: ps}
		coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: k.maps, Cache: types})
		if err != nil {
			return nil, ps.SectionName, fmt.Errorf("loading %s: %w", ps.SectionName, err)
		}
		defer coll.Close()
		return coll.DetachProgram(name), ps.SectionName, nil
	}

	who, _, err := one(bpfProgWhoami)
	if err != nil {
		return nil, err
	}
	defer who.Close()
	if _, err := who.Run(&ebpf.RunOptions{}); err != nil {
		return nil, fmt.Errorf("asking for the sensor's own process id: %w", err)
	}
	if k.snapshot, _, err = one(bpfProgSnapshot); err != nil {
		return nil, err
	}
	for i := range k.hooks {
		h := &k.hooks[i]
		h.prog, h.section, h.err = one(h.program)
		if h.err != nil && h.kinds&always != 0 {
			return nil, h.err
		}
	}
	return k, nil
}

func (k *kernel) openControl() error {
	m := k.maps[".data.control"]
	memory, err := unix.Mmap(m.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	k.control = &control{memory: memory, switches: (*bpfSwitches)(unsafe.Pointer(&memory[0]))}
	return nil
}

func (k *kernel) setScope() error {
	dir, err := os.Open(k.cgroup)
	if err != nil {
		return err
	}
	defer dir.Close()
	return k.maps[bpfMapScope].Put(uint32(0), uint32(dir.Fd()))
}

// losses returns what was lost, by kind and reason.
func (k *kernel) losses() (n [event.KindCount][bpfLossLOSS_COUNT]uint64) {
	perCPU := make([]uint64, k.possible)
	for kind := range n {
		for reason := range n[kind] {
			key := uint32(kind)*uint32(bpfLossLOSS_COUNT) + uint32(reason)
			if err := k.lost.Lookup(key, perCPU); err != nil {
				continue // cannot happen for an index of an array
			}
			for _, v := range perCPU {
				n[kind][reason] += v
			}
		}
	}
	return n
}

func (k *kernel) close() error {
	var errs []error
	for i := range k.hooks {
		h := &k.hooks[i]
		if h.link != nil {
			errs = append(errs, h.link.Close())
			h.link = nil
		}
		if h.prog != nil {
			errs = append(errs, h.prog.Close())
			h.prog = nil
		}
	}
	if k.snapshot != nil {
		errs = append(errs, k.snapshot.Close())
	}
	if k.control != nil {
		errs = append(errs, unix.Munmap(k.control.memory))
	}
	if k.tracefs != nil {
		errs = append(errs, k.tracefs.close())
	}
	for _, m := range k.maps {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
