package event

import (
	"errors"
	"hash/crc32"
)

// Batch is a run of events of one agent, the unit that travels over the link.
//
// The encoding is
//
//	"VDTB" version flags reserved[2] size crc  payload
//
// where size is the length of the payload before compression and crc the CRC-32C of everything else, both big-endian
// 32-bit numbers. With flag 1 the payload is one zstd frame. The payload is a header, a table of strings, a table of
// containers, a table of processes and the events, in this order. All numbers in it are varints. A table entry refers only
// to entries before it, so a chain of parents always ends.
//
// A reader takes its own version and the older ones, and refuses newer ones: server and agents are updated in that order.
type Batch struct {
	AgentID      string
	Epoch        string // random, new at each start of the agent
	Sequence     uint64 // 1, 2, 3 … within an epoch
	AgentVersion string
	Host         Host
	Events       []Event
}

// Host is the machine an agent runs on.
type Host struct {
	ID     string // stable over reboots
	Name   string
	Kernel string // release, as uname -r
	Arch   string // as GOARCH
}

// The bounds of a batch. An encoder stays within them, cutting texts, lists and lineages where it must, and a decoder refuses
// what does not.
const (
	MaxBatchEvents     = 65536
	MaxBatchProcesses  = 32768
	MaxBatchContainers = 4096
	MaxBatchStrings    = 1 << 19
	MaxBatchPayload    = 16 << 20 // before compression
	MaxBatchText       = 8 << 10  // one text

	maxChain     = 64   // processes that hang on each other by Parent and Writer
	maxArgs      = 2048 // of one process
	maxArgsText  = 16 << 10
	maxBatchArgs = 1 << 20 // of all processes
	maxMounts    = 64      // of one container
	maxAnswers   = 64      // of one DNS message
)

// roomPerEvent is more than one event can add to a batch: two full chains of processes (the actor's and the target's) and a
// container, with all their texts at the bound.
const roomPerEvent = 2*maxChain*(9*MaxBatchText+maxArgsText) + (3*maxMounts+20)*MaxBatchText + 64<<10

const (
	batchMagic = "VDTB"
	// firstBatchVersion is the oldest version that is still read: spools and streams may hold it. It knows the kinds up to
	// ptrace; version 2 adds the rest and changes nothing else.
	firstBatchVersion = 1
	batchVersion      = 2
	batchHeaderSize   = 16
	flagZstd          = 1
	// compressAbove is the payload size from which compressing is tried.
	compressAbove = 1024
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// The errors of [Decode]. All are wrapped with what was wrong.
var (
	// ErrBatchTorn means that the data is no batch or was damaged on the way.
	ErrBatchTorn = errors.New("torn batch")
	// ErrBatchVersion means that the batch was made by a newer or older encoder.
	ErrBatchVersion = errors.New("unknown batch version")
	// ErrBatchInvalid means that the batch arrived as it was sent but does not make sense.
	ErrBatchInvalid = errors.New("invalid batch")
)

// The bits that say which optional parts of a process follow.
const (
	procExe       = 1 << 0
	procStdio     = 1 << 1
	procContainer = 1 << 2
	procArgsCut   = 1 << 3
	procUpper     = 1 << 4
)

// The bits that say which optional parts of an event follow.
const (
	eventContainer = 1 << 0
	eventErrno     = 1 << 1
	eventCount     = 1 << 2
)
