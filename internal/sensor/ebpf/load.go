package ebpf

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"strings"
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

	scoped                      bool
	scopeID                     uint64
	lifecycleSize, activitySize uint32
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

// spec reads the object and sets what the options say.
func (k *kernel) spec() (*ebpf.CollectionSpec, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("reading the BPF object: %w", err)
	}
	spec.Maps[bpfMapLifecycle].MaxEntries = k.lifecycleSize
	spec.Maps[bpfMapActivity].MaxEntries = k.activitySize
	for name, value := range map[string]any{
		bpfVarScoped:        k.scoped,
		bpfVarScopeId:       k.scopeID,
		bpfVarLifecycleMark: uint64(k.lifecycleSize / 4),
		bpfVarActivityMark:  uint64(k.activitySize / 4),
		bpfVarInetBySyscall: k.cgroup == "",
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return spec, nil
}

// syscallSection is the place of a program that this architecture's object does not have, because there is no such system call.
func syscallSection(program string) string {
	return "tracepoint/syscalls/sys_exit_" + strings.TrimPrefix(program, "on_")
}

// loader loads programs one by one, so that one that this kernel refuses costs only its own events. The kernel's types take
// a while to read and megabytes to keep; they are shared while loading and go with the loader.
type loader struct {
	spec     *ebpf.CollectionSpec
	programs map[string]*ebpf.ProgramSpec
	maps     map[string]*ebpf.Map
	types    *btf.Cache
}

func newLoader(spec *ebpf.CollectionSpec, maps map[string]*ebpf.Map) *loader {
	l := &loader{spec: spec, programs: spec.Programs, maps: maps, types: btf.NewCache()}
	spec.Programs = nil
	return l
}

// program loads one and returns it with the place that it is for.
func (l *loader) program(name string) (*ebpf.Program, string, error) {
	ps, ok := l.programs[name]
	if !ok {
		return nil, syscallSection(name), errNoCall
	}
	l.spec.Programs = map[string]*ebpf.ProgramSpec{name: ps}
	coll, err := ebpf.NewCollectionWithOptions(l.spec, ebpf.CollectionOptions{MapReplacements: l.maps, Cache: l.types})
	if err != nil {
		return nil, ps.SectionName, fmt.Errorf("loading %s: %w", ps.SectionName, err)
	}
	defer coll.Close()
	return coll.DetachProgram(name), ps.SectionName, nil
}

// load creates the maps and loads the programs that every source needs.
func load(opts Options) (_ *kernel, err error) {
	k := &kernel{hooks: hookTable(opts.Compat), maps: map[string]*ebpf.Map{}, scoped: opts.Scope != ""}
	defer func() {
		if err != nil {
			k.close()
		}
	}()

	if k.cgroup, err = cgroupRoot(); err != nil {
		return nil, err
	}
	if k.scoped {
		if k.cgroup, k.scopeID, err = findCgroup(k.cgroup, opts.Scope); err != nil {
			return nil, err
		}
	}
	if k.lifecycleSize, err = ringSize(opts.LifecycleBytes, defaultLifecycleBytes); err != nil {
		return nil, err
	}
	if k.activitySize, err = ringSize(opts.ActivityBytes, defaultActivityBytes); err != nil {
		return nil, err
	}
	spec, err := k.spec()
	if err != nil {
		return nil, err
	}
	for i := range k.hooks {
		h := &k.hooks[i]
		if ps, ok := spec.Programs[h.program]; ok {
			h.section = ps.SectionName
		} else {
			h.section = syscallSection(h.program)
		}
	}

	l := newLoader(spec, k.maps)
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
	if k.scoped {
		if err := k.setScope(); err != nil {
			return nil, fmt.Errorf("scope %s: %w", k.cgroup, err)
		}
	}

	who, _, err := l.program(bpfProgWhoami)
	if err != nil {
		return nil, err
	}
	defer who.Close()
	if _, err := who.Run(&ebpf.RunOptions{}); err != nil {
		return nil, fmt.Errorf("asking for the sensor's own process id: %w", err)
	}
	if k.snapshot, _, err = l.program(bpfProgSnapshot); err != nil {
		return nil, err
	}
	return k, k.loadHooks(l, always|opts.Kinds)
}

// loadHooks loads the programs of the kinds that are not loaded yet. A nil loader means a new one, if there is anything to load.
func (k *kernel) loadHooks(l *loader, kinds event.Kinds) error {
	for i := range k.hooks {
		h := &k.hooks[i]
		if h.kinds&kinds == 0 || h.prog != nil || h.err != nil {
			continue
		}
		if l == nil {
			spec, err := k.spec()
			if err != nil {
				return err
			}
			l = newLoader(spec, k.maps)
		}
		h.prog, h.section, h.err = l.program(h.program)
		if h.renamed && errors.Is(h.err, ebpf.ErrNotSupported) {
			h.err = errRenamed
		}
		if h.err != nil && h.kinds&always != 0 {
			return h.err
		}
	}
	return nil
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
