// Package sink is an SMTP server that keeps every mail it gets as a file in a folder, for trying Vedette without a relay
// and for tests.
//
// In come mails over SMTP, out come files NAME.eml: the message as it was sent, below the headers X-Envelope-From and
// X-Envelope-To. A file appears complete or not at all. Mails that are too large are refused with 552; when the folder
// holds the largest number of mails allowed, the oldest goes for each new one. The sink never relays anything anywhere. It
// is safe for concurrent use and listens where it is told to, which should be a loopback address: it asks nobody who they are.
package sink

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// Options configure a Sink. Folder and Log are required.
type Options struct {
	Folder   string // made if it does not exist
	Listen   string // host:port; default 127.0.0.1:0
	MaxBytes int64  // of one mail; default 4 MiB
	MaxMails int    // kept in the folder; default 10,000
	Log      *slog.Logger
}

// Sink is a running server.
type Sink struct {
	o        Options
	listener net.Listener
	server   *smtp.Server
	mu       sync.Mutex // held while the folder changes
	last     time.Time
	close    func() error // end, once
}

// Open starts to listen; Run serves.
func Open(o Options) (*Sink, error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 4 << 20
	}
	if o.MaxMails <= 0 {
		o.MaxMails = 10_000
	}
	if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		return nil, fmt.Errorf("making the mails' folder: %w", err)
	}
	// What a process that was killed was writing is no mail and never will be; whoever sent it sends it again.
	torn, _ := filepath.Glob(filepath.Join(o.Folder, temporary+"*"))
	for _, name := range torn {
		os.Remove(name)
	}
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listening for mails: %w", err)
	}
	s := &Sink{o: o, listener: &limited{Listener: listener, free: make(chan struct{}, 64)}}
	s.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{sink: s}, nil }))
	s.server.Domain = "vedette.local"
	s.server.MaxMessageBytes = o.MaxBytes
	s.server.MaxRecipients = 100
	s.server.ReadTimeout = 30 * time.Second
	s.server.WriteTimeout = 30 * time.Second
	s.server.EnableSMTPUTF8 = true
	s.server.ErrorLog = errorLog{o.Log}
	s.close = sync.OnceValue(s.end)
	return s, nil
}

// URL returns the relay URL with which a sender reaches the sink.
func (s *Sink) URL() string { return "smtp://" + s.listener.Addr().String() + "?starttls=off" }

// Run serves until ctx ends or Close is called.
func (s *Sink) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	err := s.server.Serve(s.listener)
	if err == nil || ctx.Err() != nil || errors.Is(err, net.ErrClosed) { // closed, by ctx or by Close
		return nil
	}
	return fmt.Errorf("serving mails: %w", err)
}

// Close stops listening and ends all connections. It may be called more than once, before, while and after Run works.
func (s *Sink) Close() error { return s.close() }

// end is what Close does the first time.
func (s *Sink) end() error {
	err := s.server.Close()
	// The server closes the listeners that it serves; before Run it does not know ours.
	if e := s.listener.Close(); !errors.Is(e, net.ErrClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// limited accepts no more connections at a time than free has room for.
type limited struct {
	net.Listener
	free chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.free <- struct{}{}
	return &counted{Conn: c, done: sync.OnceFunc(func() { <-l.free })}, nil
}

type counted struct {
	net.Conn
	done func()
}

func (c *counted) Close() error {
	c.done()
	return c.Conn.Close()
}

type errorLog struct{ log *slog.Logger }

func (l errorLog) Printf(format string, v ...any) {
	l.log.Debug("mail sink", "err", fmt.Sprintf(format, v...))
}
func (l errorLog) Println(v ...any) { l.log.Debug("mail sink", "err", fmt.Sprint(v...)) }

// session is one client's connection.
type session struct {
	sink *Sink
	from string
	to   []string
}

func (s *session) Reset()        { s.from, s.to = "", nil }
func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := s.sink.keep(s.from, s.to, text); err != nil {
		s.sink.o.Log.Error("keeping a mail", "err", err)
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "the mail could not be kept"}
	}
	return nil
}

const (
	suffix    = ".eml"
	temporary = ".mail-" // begins the name of a file that is being written
)

// keep writes one mail. Names sort in the order of arrival.
func (s *Sink) keep(from string, to []string, text []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().UTC()
	if !now.After(s.last) {
		now = s.last.Add(time.Nanosecond)
	}
	s.last = now
	name := now.Format("20060102T150405.000000000Z") + "-" + strings.ToLower(rand.Text()[:6]) + suffix
	var b bytes.Buffer
	fmt.Fprintf(&b, "X-Envelope-From: <%s>\r\nX-Envelope-To: <%s>\r\n", oneLine(from), oneLine(strings.Join(to, ">, <")))
	b.Write(text)
	if err := writeFile(s.o.Folder, name, b.Bytes()); err != nil {
		return err
	}
	names, err := names(s.o.Folder)
	if err != nil {
		return err
	}
	for len(names) > s.o.MaxMails {
		if err := os.Remove(filepath.Join(s.o.Folder, names[0])); err != nil {
			return err
		}
		names = names[1:]
	}
	return nil
}

// writeFile makes a file that is complete as soon as it can be seen under its name.
func writeFile(folder, name string, text []byte) error {
	f, err := os.CreateTemp(folder, temporary+"*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(folder, name))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// names returns the names of the mails in a folder, the oldest first.
func names(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasSuffix(e.Name(), suffix) && !strings.HasPrefix(e.Name(), ".") {
			list = append(list, e.Name())
		}
	}
	slices.Sort(list)
	return list, nil
}

// Mail is a kept mail in brief. Its texts were decoded but not made safe for a terminal.
type Mail struct {
	ID      string // names it in its folder
	Time    time.Time
	From    string
	To      string
	Subject string
}

// List returns the mails in a folder, the oldest first. A folder that does not exist holds none. A file that is not a mail
// is listed with its id alone.
func List(folder string) ([]Mail, error) {
	names, err := names(folder)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing mails: %w", err)
	}
	list := make([]Mail, 0, len(names))
	for _, name := range names {
		m := Mail{ID: strings.TrimSuffix(name, suffix)}
		if f, err := os.Open(filepath.Join(folder, name)); err == nil {
			if msg, err := mail.ReadMessage(io.LimitReader(f, 1<<20)); err == nil {
				m.From, m.To, m.Subject = header(msg, "From"), header(msg, "To"), header(msg, "Subject")
			}
			f.Close()
		}
		stamp, _, _ := strings.Cut(m.ID, "-")
		m.Time, _ = time.Parse("20060102T150405.000000000Z", stamp)
		list = append(list, m)
	}
	return list, nil
}
