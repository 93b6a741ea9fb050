package actor

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// readyFile appears when the application listens everywhere.
const readyFile = "/run/vedette-sim.ready"

// serve is the quiet application: it listens, answers, buries orphans as a first process must, and ends on SIGTERM.
func serve(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	var listeners []io.Closer
	listen := func(open func(string) (io.Closer, error)) func(string) error {
		return func(address string) error {
			l, err := openSoon(address, open)
			if err == nil {
				listeners = append(listeners, l)
			}
			return err
		}
	}
	flags.Func("tcp", "address to answer on", listen(serveStream("tcp")))
	flags.Func("unix", "socket to answer on like a container engine", listen(serveStream("unix")))
	flags.Func("control", "socket to take attacks on", listen(serveControl))
	flags.Func("dns", "address to answer DNS questions on, over UDP and TCP", listen(serveDNS))
	if err := flags.Parse(args); err != nil {
		return err
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGTERM, unix.SIGINT)
	if os.Getpid() == 1 {
		children.bury()
	}
	if err := os.WriteFile(readyFile, nil, 0o644); err != nil {
		return err
	}
	<-ended
	for _, l := range listeners {
		l.Close()
	}
	return nil
}

// openSoon listens on an address that may not be bound yet: with an engine, the container's addresses come a moment after
// its first process has started.
func openSoon(address string, open func(string) (io.Closer, error)) (io.Closer, error) {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		l, err := open(address)
		missing := errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT)
		if !missing || time.Now().After(deadline) {
			return l, err
		}
	}
}

// ready waits until the application is ready.
func ready([]string) error {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(readyFile); err == nil {
			return nil
		}
	}
	return errors.New("the application in the container does not get ready")
}

// serveStream answers every connection like a small web server, a line at a time and for a second at most.
func serveStream(network string) func(string) (io.Closer, error) {
	return func(address string) (io.Closer, error) {
		l, err := net.Listen(network, address)
		if err != nil {
			return nil, err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					c.SetDeadline(time.Now().Add(time.Second))
					if request, err := bufio.NewReaderSize(c, 4096).ReadSlice('\n'); err == nil {
						body := page(string(request))
						fmt.Fprintf(c, "HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
					}
				}()
			}
		}()
		return l, nil
	}
}

// page returns what the small web server has: a script, a program, or a line of text.
func page(request string) []byte {
	_, path, _ := strings.Cut(request, " ")
	path, _, _ = strings.Cut(path, " ")
	switch {
	case strings.HasSuffix(path, ".sh"):
		return []byte("#!/bin/sh\n# This script of the simulation does nothing.\ntrue\n")
	case strings.HasSuffix(path, ".elf"):
		if program, err := tinyProgram(); err == nil {
			return program
		}
	}
	return []byte("This is Vedette's simulation.\n")
}

// answerAddress is the answer to every DNS question: an address that is reserved for documentation.
var answerAddress = [4]byte{192, 0, 2, 53}

// metadataAddress is where a cloud's instances find out about themselves.
var metadataAddress = [4]byte{169, 254, 169, 254}

// laterAnswers counts the answers for the name that changes its address.
var laterAnswers atomic.Uint64

// addresses returns the answers for a name. Some names belong to an attacker who points them at the metadata service.
func addresses(name dnsmessage.Name) []dnsmessage.Resource {
	address := func(name dnsmessage.Name, a [4]byte) dnsmessage.Resource {
		return dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 5}, Body: &dnsmessage.AResource{A: a},
		}
	}
	first, _, _ := strings.Cut(strings.ToLower(name.String()), ".")
	switch first {
	case "rebind":
		return []dnsmessage.Resource{address(name, metadataAddress)}
	case "rebind-later":
		if laterAnswers.Add(1)%2 == 0 {
			return []dnsmessage.Resource{address(name, metadataAddress)}
		}
	case "rebind-among":
		return []dnsmessage.Resource{address(name, answerAddress), address(name, metadataAddress)}
	case "rebind-alias":
		alias := dnsmessage.MustNewName("alias.example.org.")
		return []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 5}, Body: &dnsmessage.CNAMEResource{CNAME: alias},
		}, address(alias, metadataAddress)}
	}
	return []dnsmessage.Resource{address(name, answerAddress)}
}

// serveDNS answers on UDP and TCP.
func serveDNS(address string) (io.Closer, error) {
	stream, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		stream.Close()
		return nil, err
	}
	go func() {
		for buffer := make([]byte, 1500); ; {
			n, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer, err := answerDNS(buffer[:n]); err == nil {
				packets.WriteTo(answer, from)
			}
		}
	}()
	go func() {
		for {
			c, err := stream.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(time.Second))
				if question, err := readDNS(c); err == nil {
					if answer, err := answerDNS(question); err == nil {
						writeDNS(c, answer)
					}
				}
			}()
		}
	}()
	return closers{stream, packets}, nil
}

type closers []io.Closer

func (c closers) Close() error {
	var failed []error
	for _, one := range c {
		failed = append(failed, one.Close())
	}
	return errors.Join(failed...)
}

// readDNS reads one message with the length in front, as over TCP (RFC 1035 section 4.2.2).
func readDNS(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	message := make([]byte, int(length[0])<<8|int(length[1]))
	_, err := io.ReadFull(r, message)
	return message, err
}

// writeDNS writes one message with the length in front, in one segment.
func writeDNS(w io.Writer, message []byte) error {
	_, err := w.Write(append([]byte{byte(len(message) >> 8), byte(len(message))}, message...))
	return err
}

// answerDNS answers a question for an IPv4 address, and says to every other one that there is nothing.
func answerDNS(question []byte) ([]byte, error) {
	var p dnsmessage.Parser
	header, err := p.Start(question)
	if err != nil {
		return nil, err
	}
	asked, err := p.Question()
	if err != nil {
		return nil, err
	}
	if header.Response {
		return nil, errors.New("not a question")
	}
	m := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired, RecursionAvailable: true,
		},
		Questions: []dnsmessage.Question{asked},
	}
	if asked.Type == dnsmessage.TypeA {
		m.Answers = addresses(asked.Name)
	}
	return m.Pack()
}

// lookup asks for a name: dns HOW NAME SERVER.
func lookup(args []string) error {
	if len(args) != 3 {
		return errors.New("dns takes udp, sendto, tcp or twice, a name and a server")
	}
	server, err := netip.ParseAddrPort(args[2])
	if err != nil {
		return err
	}
	if args[0] == "twice" {
		again := []string{"udp", args[1], args[2]}
		return errors.Join(lookup(again), lookup(again))
	}
	name, err := dnsmessage.NewName(strings.TrimSuffix(args[1], ".") + ".")
	if err != nil {
		return err
	}
	question, err := (&dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(os.Getpid()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}).Pack()
	if err != nil {
		return err
	}
	answer, err := ask(args[0], question, server, args[1])
	if err != nil {
		return fmt.Errorf("asking %v for %s: %w", server, args[1], err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(answer); err != nil || len(m.Answers) == 0 {
		return fmt.Errorf("asking %v for %s: an answer with %d addresses (%v)", server, args[1], len(m.Answers), err)
	}
	return nil
}

func ask(how string, question []byte, server netip.AddrPort, name string) ([]byte, error) {
	const patience = 5 * time.Second
	switch how {
	case "udp", "tcp":
		c, err := net.DialTimeout(how, server.String(), patience)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		at := now()
		if how == "tcp" {
			err = writeDNS(c, question)
		} else {
			_, err = c.Write(question)
		}
		report(at, "sendto", name, err)
		if err != nil {
			return nil, err
		}
		if how == "tcp" {
			return readDNS(c)
		}
		answer := make([]byte, 1500)
		n, err := c.Read(answer)
		return answer[:n], err
	case "sendto":
		c, err := net.ListenUDP("udp", nil)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		at := now()
		_, err = c.WriteToUDPAddrPort(question, server)
		report(at, "sendto", name, err)
		if err != nil {
			return nil, err
		}
		answer := make([]byte, 1500)
		n, _, err := c.ReadFromUDPAddrPort(answer)
		return answer[:n], err
	}
	return nil, fmt.Errorf("no way %q to ask", how)
}
