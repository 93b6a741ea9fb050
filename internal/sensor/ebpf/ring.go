package ebpf

import (
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is the consumer's side of one BPF ring buffer, read in place. Its layout is kernel interface (Documentation/bpf/ringbuf.rst):
// a page with the consumer's position, which is ours to write, a page with the producer's, and the data, mapped twice in a
// row so that no record is ever split.
type ring struct {
	consumerPage []byte
	producerPage []byte // and the data
	consumer     *uint64
	producer     *uint64
	data         []byte
	mask         uint64
	size         uint64

	at       uint64 // position of the next record to read
	released uint64 // position that the kernel knows
}

const (
	ringBusy    = 1 << 31
	ringDiscard = 1 << 30
	ringHeader  = 8
)

func openRing(fd int, size uint32) (*ring, error) {
	page := os.Getpagesize()
	consumer, err := unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	producer, err := unix.Mmap(fd, int64(page), page+2*int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		unix.Munmap(consumer)
		return nil, err
	}
	r := &ring{
		consumerPage: consumer,
		producerPage: producer,
		consumer:     (*uint64)(unsafe.Pointer(&consumer[0])),
		producer:     (*uint64)(unsafe.Pointer(&producer[0])),
		data:         producer[page:],
		mask:         uint64(size) - 1,
		size:         uint64(size),
	}
	r.at = atomic.LoadUint64(r.consumer)
	r.released = r.at
	return r, nil
}

func (r *ring) close() {
	unix.Munmap(r.consumerPage)
	unix.Munmap(r.producerPage)
}

// end returns the position up to which records have been reserved.
func (r *ring) end() uint64 { return atomic.LoadUint64(r.producer) }

// head returns the record at the current position, skipping discarded ones, up to the position end. It is nil if there is
// none, and busy tells that there is one whose program has not finished writing it.
func (r *ring) head(end uint64) (record []byte, busy bool) {
	for r.at < end {
		start := r.at & r.mask
		length := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[start])))
		if length&ringBusy != 0 {
			return nil, true
		}
		if length&ringDiscard == 0 {
			return r.data[start+ringHeader : start+ringHeader+uint64(length)], false
		}
		r.skip(length &^ ringDiscard)
	}
	return nil, false
}

func (r *ring) skip(length uint32) { r.at += (uint64(length) + ringHeader + 7) &^ 7 }

// next leaves the record behind. The memory stays valid until release.
func (r *ring) next(record []byte) {
	r.skip(uint32(len(record)))
	if r.at-r.released > r.size/8 {
		r.release()
	}
}

// release gives the room of all records left behind back to the kernel.
func (r *ring) release() {
	if r.released != r.at {
		atomic.StoreUint64(r.consumer, r.at)
		r.released = r.at
	}
}
