package agent

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/sensor"
)

// maxAnswers bounds how many records of a DNS answer are looked at.
const maxAnswers = 64

// parseDNS reads a DNS message into d. The payload is hostile. A message whose end was cut off by the sensor is read as far as
// it goes; one without a question that can be read is an error.
func parseDNS(d *event.DNS, r *sensor.DNSRecord) error {
	payload := r.Payload
	if r.Protocol == 6 && len(payload) > 2 {
		// On TCP, a message follows its length.
		if n := int(binary.BigEndian.Uint16(payload)); n == len(payload)-2 || r.PayloadCut && n > len(payload)-2 {
			payload = payload[2:]
		}
	}
	var p dnsmessage.Parser
	head, err := p.Start(payload)
	if err != nil {
		return err
	}
	q, err := p.Question()
	if err != nil {
		return err
	}
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	*d = event.DNS{
		Response: head.Response, Protocol: r.Protocol, Server: r.Remote, Local: r.Local, Name: name, Type: uint16(q.Type),
		RCode: uint8(head.RCode & 0xf), Answers: d.Answers[:0],
	}
	if !head.Response {
		d.RCode = 0
		return nil
	}
	if p.SkipAllQuestions() != nil {
		return nil
	}
	for range maxAnswers {
		h, err := p.AnswerHeader()
		if err != nil {
			break
		}
		switch h.Type {
		case dnsmessage.TypeA:
			a, err := p.AResource()
			if err != nil {
				return nil
			}
			d.Answers = append(d.Answers, netip.AddrFrom4(a.A))
		case dnsmessage.TypeAAAA:
			a, err := p.AAAAResource()
			if err != nil {
				return nil
			}
			d.Answers = append(d.Answers, netip.AddrFrom16(a.AAAA))
		default:
			if p.SkipAnswer() != nil {
				return nil
			}
		}
	}
	return nil
}
