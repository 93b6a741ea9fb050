package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// relay is a mail server that keeps what it gets in memory, with the time when it had taken it.
type relay struct {
	address string
	server  *smtp.Server

	mu      sync.Mutex
	mails   []received
	arrived chan struct{} // closed and replaced at each mail
}

type received struct {
	at   time.Time
	text string // header and all text parts, decoded
}

// maxMail bounds a mail.
const maxMail = 4 << 20

func startRelay() (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting mail relay: %w", err)
	}
	r := &relay{address: l.Addr().String(), arrived: make(chan struct{})}
	r.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return session{r}, nil }))
	r.server.Domain, r.server.MaxMessageBytes = "localhost", maxMail
	r.server.ReadTimeout, r.server.WriteTimeout = 30*time.Second, 30*time.Second
	go r.server.Serve(l)
	return r, nil
}

func (r *relay) close() error { return r.server.Close() }

// wait returns when the first mail that holds the text was taken.
func (r *relay) wait(ctx context.Context, text string) (time.Time, error) {
	m, err := r.find(ctx, text)
	return m.at, err
}

func (r *relay) find(ctx context.Context, text string) (received, error) {
	for {
		r.mu.Lock()
		mails, arrived := r.mails, r.arrived
		r.mu.Unlock()
		for _, m := range mails {
			if strings.Contains(m.text, text) {
				return m, nil
			}
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return received{}, fmt.Errorf("waiting for a mail that holds %q: %w", text, ctx.Err())
		}
	}
}

// session is one connection to the relay.
type session struct{ relay *relay }

func (session) Reset()                               {}
func (session) Logout() error                        { return nil }
func (session) Mail(string, *smtp.MailOptions) error { return nil }
func (session) Rcpt(string, *smtp.RcptOptions) error { return nil }

func (s session) Data(body io.Reader) error {
	raw, err := io.ReadAll(io.LimitReader(body, maxMail))
	if err != nil {
		return err
	}
	at := time.Now()
	text, err := mailText(raw)
	if err != nil {
		return err
	}
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	s.relay.mails = append(s.relay.mails, received{at, text})
	close(s.relay.arrived)
	s.relay.arrived = make(chan struct{})
	return nil
}

// mailText returns a mail's header and its decoded text parts.
func mailText(raw []byte) (string, error) {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for key, values := range m.Header {
		fmt.Fprintf(&text, "%s: %s\n", key, strings.Join(values, ", "))
	}
	err = appendText(&text, m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), m.Body, 0)
	return text.String(), err
}

func appendText(text *strings.Builder, kind, encoding string, body io.Reader, depth int) error {
	if depth > 5 {
		return errors.New("a mail with too many parts in parts")
	}
	media, parameters, err := mime.ParseMediaType(kind)
	if err == nil && strings.HasPrefix(media, "multipart/") {
		for parts := multipart.NewReader(body, parameters["boundary"]); ; {
			part, err := parts.NextRawPart()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := appendText(text, part.Header.Get("Content-Type"), part.Header.Get("Content-Transfer-Encoding"), part, depth+1); err != nil {
				return err
			}
		}
	}
	switch strings.ToLower(encoding) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	decoded, err := io.ReadAll(io.LimitReader(body, maxMail))
	text.Write(decoded)
	text.WriteByte('\n')
	return err
}
