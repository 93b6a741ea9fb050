// Package smtp sends mails through an SMTP relay.
//
// In goes one message to one recipient, out comes nil when the relay took it, or an error that says whether trying again
// can help. Each message has a connection of its own and a bounded time for everything, so a relay that hangs costs its
// caller that time and nothing more. The package keeps no queue and never tries again by itself. A Sender is safe for
// concurrent use. Passwords appear in no error and no log.
package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"vedette.dev/vedette/internal/notify/mail"
)

// ErrPermanent is in the chain of an error that trying again cannot cure: the relay refused this recipient or this message
// for good. Everything else, a refused sender or password included, may be cured by whoever runs the relay.
var ErrPermanent = errors.New("permanent failure")

// Sender sends mails through one relay.
type Sender struct {
	host    string
	port    int
	from    *netmail.Address
	implied bool // TLS from the first byte
	policy  gomail.TLSPolicy
	tls     *tls.Config
	user    string
	pass    string
	helo    string
	timeout time.Duration
}

// New returns a sender for the relay at the given URL:
//
//	smtp://[USER:PASSWORD@]HOST[:PORT][?starttls=required|opportunistic|off][&ca=FILE][&helo=NAME][&timeout=20s]
//	smtps://…   TLS from the first byte
//
// The port is 465 for smtps, 587 with a user and else 25. STARTTLS is required with a user (unless the relay is this
// machine) and else used where the relay offers it. ca names a PEM file of authorities to trust besides the system's. from
// is the sender, an address with or without a name.
func New(relay, from string) (*Sender, error) {
	u, err := url.Parse(relay)
	if err != nil {
		return nil, errors.New("the relay's URL does not parse") // the text may hold a password
	}
	s := &Sender{host: u.Hostname(), implied: u.Scheme == "smtps", timeout: 20 * time.Second}
	if s.from, err = netmail.ParseAddress(from); err != nil {
		return nil, fmt.Errorf("the sender %q is not a mail address", from)
	}
	if u.Scheme != "smtp" && u.Scheme != "smtps" {
		return nil, fmt.Errorf("the relay's URL begins with %q: write smtp:// or smtps://", u.Scheme)
	}
	if s.host == "" {
		return nil, errors.New("the relay's URL has no host")
	}
	if u.Path != "" && u.Path != "/" {
		return nil, errors.New("the relay's URL has a path")
	}
	s.user = u.User.Username()
	s.pass, _ = u.User.Password()
	switch {
	case u.Port() != "":
		if s.port, err = strconv.Atoi(u.Port()); err != nil || s.port < 1 || s.port > 65535 {
			return nil, fmt.Errorf("the relay's port %q is not a port", u.Port())
		}
	case s.implied:
		s.port = 465
	case s.user != "":
		s.port = 587
	default:
		s.port = 25
	}
	s.tls = &tls.Config{ServerName: s.host, MinVersion: tls.VersionTLS12}
	s.policy = gomail.TLSOpportunistic
	if s.user != "" && !loopback(s.host) {
		s.policy = gomail.TLSMandatory
	}
	for key, values := range u.Query() {
		if err := s.option(key, values[len(values)-1]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Sender) option(key, value string) error {
	switch key {
	case "starttls":
		switch value {
		case "required":
			s.policy = gomail.TLSMandatory
		case "opportunistic":
			s.policy = gomail.TLSOpportunistic
		case "off":
			s.policy = gomail.NoTLS
		default:
			return fmt.Errorf("the relay's starttls is %q: write required, opportunistic or off", value)
		}
	case "ca":
		text, err := os.ReadFile(value)
		if err != nil {
			return fmt.Errorf("reading the relay's authorities: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(text) {
			return fmt.Errorf("%s holds no certificate", value)
		}
		s.tls.RootCAs = pool
	case "helo":
		if value == "" || strings.ContainsAny(value, " \t\r\n") {
			return fmt.Errorf("the relay's helo %q is not a host name", value)
		}
		s.helo = value
	case "timeout":
		d, err := time.ParseDuration(value)
		if err != nil || d < time.Second || d > 30*time.Second {
			return fmt.Errorf("the relay's timeout is %q: write 1s to 30s", value)
		}
		s.timeout = d
	default:
		return fmt.Errorf("the relay's URL has an unknown option %q", key)
	}
	return nil
}

// Send hands one message to the relay. It returns as soon as ctx ends.
func (s *Sender) Send(ctx context.Context, m mail.Message) error {
	msg, err := s.message(m)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPermanent, err)
	}
	// The connection is kept in sight so that it can be cut when ctx ends and is closed whatever happens.
	var conn net.Conn
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		d := &net.Dialer{Timeout: s.timeout}
		var err error
		if s.implied {
			conn, err = (&tls.Dialer{NetDialer: d, Config: s.tls}).DialContext(ctx, network, addr)
		} else {
			conn, err = d.DialContext(ctx, network, addr)
		}
		return conn, err
	}
	options := []gomail.Option{gomail.WithPort(s.port), gomail.WithTimeout(s.timeout), gomail.WithDialContextFunc(dial), gomail.WithTLSConfig(s.tls),
		gomail.WithTLSPolicy(s.policy), gomail.WithoutNoop()}
	if s.implied {
		options = append(options, gomail.WithSSL())
	}
	if s.helo != "" {
		options = append(options, gomail.WithHELO(s.helo))
	}
	if s.user != "" {
		options = append(options, gomail.WithUsername(s.user), gomail.WithPassword(s.pass),
			gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthSCRAMSHA1, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin))
	}
	client, err := gomail.NewClient(s.host, options...)
	if err != nil {
		return fmt.Errorf("setting up the relay's client: %w", err)
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if conn != nil {
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	}
	if err != nil {
		return fmt.Errorf("connecting to the relay %s: %w", net.JoinHostPort(s.host, strconv.Itoa(s.port)), err)
	}
	err = client.SendWithSMTPClient(session, msg)
	if msg.IsDelivered() { // what went wrong afterwards does not undo it
		session.Quit()
		return nil
	}
	if err == nil {
		err = errors.New("the relay did not confirm the message")
	}
	if permanent(err) {
		return fmt.Errorf("%w: %w", ErrPermanent, err)
	}
	return fmt.Errorf("sending through the relay: %w", err)
}

// permanent reports whether the relay refused the recipient or the message for good.
func permanent(err error) bool {
	var e *gomail.SendError
	if !errors.As(err, &e) || e.ErrorCode()/100 != 5 {
		return false
	}
	switch e.Reason {
	case gomail.ErrSMTPRcptTo, gomail.ErrSMTPData, gomail.ErrSMTPDataClose:
		return true
	}
	return false
}

// message encodes m. What cannot be encoded safely is an error.
func (s *Sender) message(m mail.Message) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent(), gomail.WithEncoding(gomail.EncodingQP))
	name := s.from.Name
	if m.FromName != "" {
		name = m.FromName
	}
	msg.FromMailAddress(&netmail.Address{Name: oneLine(name), Address: s.from.Address})
	if strings.ContainsAny(m.To, "\r\n\x00<> ") {
		return nil, errors.New("the recipient's address is not an address")
	}
	to, err := netmail.ParseAddress(m.To)
	if err != nil {
		return nil, errors.New("the recipient's address is not an address")
	}
	msg.ToMailAddress(&netmail.Address{Address: to.Address})
	msg.Subject(oneLine(m.Subject))
	msg.SetDate()
	if m.ID != "" {
		_, domain, _ := strings.Cut(s.from.Address, "@")
		msg.SetMessageIDWithValue(oneLine(m.ID) + "@" + domain)
	}
	for k, v := range m.Headers {
		if strings.ContainsAny(v, "\r\n\x00") || !token(k) {
			return nil, fmt.Errorf("the header %q is not one line", k)
		}
		msg.SetGenHeader(gomail.Header(k), v)
	}
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	}
	return msg, nil
}

// oneLine replaces what could end a header.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
}

// token reports whether s can be the name of a header.
func token(s string) bool {
	for _, c := range []byte(s) {
		if c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return s != ""
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
