package bus

import "strings"

// arn is an ARN in its six parts.
type arn struct {
	partition, service, region, account, resource string
}

// parseARN splits an ARN, and reports whether it is one.
func parseARN(s string) (arn, bool) {
	p := strings.SplitN(s, ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[1] == "" || p[2] == "" || p[5] == "" {
		return arn{}, false
	}
	return arn{p[1], p[2], p[3], p[4], p[5]}, true
}

func (b *Bus) eventBusARN(name string) string {
	return "arn:aws:events:" + b.o.Region + ":" + b.o.AccountID + ":event-bus/" + name
}

func (b *Bus) ruleARN(bus, rule string) string {
	if bus != DefaultBus {
		rule = bus + "/" + rule
	}
	return "arn:aws:events:" + b.o.Region + ":" + b.o.AccountID + ":rule/" + rule
}

// BusName returns the name of the bus that a request means: its name, its ARN, or nothing for the default bus.
func (b *Bus) BusName(nameOrARN string) string {
	if nameOrARN == "" {
		return DefaultBus
	}
	if a, ok := parseARN(nameOrARN); ok && a.service == "events" {
		if name, ok := strings.CutPrefix(a.resource, "event-bus/"); ok && a.region == b.o.Region && a.account == b.o.AccountID {
			return name
		}
	}
	return nameOrARN
}

// RuleName returns the bus and the name of the rule with the given ARN, and whether it is one of this account and Region.
func (b *Bus) RuleName(ruleARN string) (bus, rule string, ok bool) {
	a, ok := parseARN(ruleARN)
	name, isRule := strings.CutPrefix(a.resource, "rule/")
	if !ok || !isRule || a.service != "events" || a.region != b.o.Region || a.account != b.o.AccountID {
		return "", "", false
	}
	if bus, rule, ok := strings.Cut(name, "/"); ok {
		return bus, rule, true
	}
	return DefaultBus, name, true
}
