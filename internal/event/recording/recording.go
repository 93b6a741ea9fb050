// Package recording is the file form of what agents sent: batches of events as they arrived, so that they can be run through
// detection again, elsewhere and later.
//
// A recording is the eight bytes "VDTREC\x00" and version, and then one record after the other:
//
//	length  crc  time  agent  batch
//
// where length and crc (CRC-32C) are of what follows them, big-endian 32-bit numbers; time is when the batch arrived, in
// nanoseconds since 1970, a big-endian 64-bit number; agent is the id of who sent it, after a byte with its length; and batch
// is as [event.Decode] reads it. A file that was cut off is good up to its last whole record.
//
// What goes in and comes out is [Record]. Reading uses bounded memory whatever the file holds, and a record's events still
// have to be decoded and are hostile. A Writer and a Reader are for one goroutine each. The package never opens files.
package recording

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"vedette.dev/vedette/internal/event"
)

const (
	magic      = "VDTREC\x00"
	version    = 1
	recordHead = 4 + 4
	maxAgentID = 255
	// maxRecord is the largest record: the largest batch and all around it.
	maxRecord = event.MaxBatchPayload + 64<<10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// The errors of reading, wrapped with what was wrong.
var (
	// ErrFormat means that the file is no recording, or one of a newer version.
	ErrFormat = errors.New("not a recording")
	// ErrTorn means that the file is cut off or damaged; what was read before is good.
	ErrTorn = errors.New("the recording is torn")
)

// Record is a batch as it arrived.
type Record struct {
	Time    time.Time
	AgentID string
	Batch   []byte
}

// Writer writes a recording.
type Writer struct {
	w    io.Writer
	head []byte
}

// NewWriter begins a recording.
func NewWriter(w io.Writer) (*Writer, error) {
	if _, err := w.Write(append([]byte(magic), version)); err != nil {
		return nil, fmt.Errorf("writing recording: %w", err)
	}
	return &Writer{w: w}, nil
}

// Write adds a record. It is one write of the underlying writer, so that a reader never sees half of one for long.
func (w *Writer) Write(r Record) error {
	length := 8 + 1 + len(r.AgentID) + len(r.Batch)
	if len(r.AgentID) > maxAgentID || length > maxRecord {
		return fmt.Errorf("writing recording: a batch of %d bytes by an agent of %d is too large", len(r.Batch), len(r.AgentID))
	}
	b := append(w.head[:0], make([]byte, recordHead)...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Time.UnixNano()))
	b = append(b, byte(len(r.AgentID)))
	b = append(b, r.AgentID...)
	b = append(b, r.Batch...)
	binary.BigEndian.PutUint32(b, uint32(length))
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[recordHead:], castagnoli))
	w.head = b
	if _, err := w.w.Write(b); err != nil {
		return fmt.Errorf("writing recording: %w", err)
	}
	return nil
}

// Reader reads a recording.
type Reader struct {
	r   *bufio.Reader
	buf []byte
	n   int
}

// NewReader checks that r is a recording.
func NewReader(r io.Reader) (*Reader, error) {
	b := bufio.NewReaderSize(r, 256<<10)
	var head [len(magic) + 1]byte
	if _, err := io.ReadFull(b, head[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("%w: it is too short", ErrFormat)
		}
		return nil, fmt.Errorf("reading recording: %w", err)
	}
	switch {
	case string(head[:len(magic)]) != magic:
		return nil, fmt.Errorf("%w: it begins otherwise", ErrFormat)
	case head[len(magic)] != version:
		return nil, fmt.Errorf("%w of version %d: it is of version %d", ErrFormat, version, head[len(magic)])
	}
	return &Reader{r: b}, nil
}

// Read returns the next record, or [io.EOF] after the last one. The batch is valid until the next call.
func (r *Reader) Read() (Record, error) {
	var head [recordHead]byte
	switch n, err := io.ReadFull(r.r, head[:]); {
	case n == 0 && errors.Is(err, io.EOF):
		return Record{}, io.EOF
	case err != nil:
		return Record{}, r.failed(err)
	}
	length := int(binary.BigEndian.Uint32(head[:]))
	if length < 9 || length > maxRecord {
		return Record{}, fmt.Errorf("%w: record %d has %d bytes", ErrTorn, r.n+1, length)
	}
	// A length that lies takes no more memory than the file has bytes.
	r.buf = r.buf[:0]
	for len(r.buf) < length {
		n := min(length-len(r.buf), 64<<10)
		start := len(r.buf)
		r.buf = append(r.buf, make([]byte, n)...)
		if _, err := io.ReadFull(r.r, r.buf[start:]); err != nil {
			return Record{}, r.failed(err)
		}
	}
	if crc32.Checksum(r.buf, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return Record{}, fmt.Errorf("%w: record %d has another checksum", ErrTorn, r.n+1)
	}
	id := int(r.buf[8])
	if 9+id > length {
		return Record{}, fmt.Errorf("%w: record %d has an agent of %d bytes", ErrTorn, r.n+1, id)
	}
	r.n++
	return Record{
		Time:    time.Unix(0, int64(binary.BigEndian.Uint64(r.buf))).UTC(),
		AgentID: string(r.buf[9 : 9+id]), Batch: r.buf[9+id:],
	}, nil
}

func (r *Reader) failed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends within record %d", ErrTorn, r.n+1)
	}
	return fmt.Errorf("reading recording: %w", err)
}
