package mail

import (
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"vedette.dev/vedette/internal/finding"
)

// How much of a value is shown.
const (
	maxName    = 80
	maxValue   = 500
	maxText    = 2000
	maxLineage = 12
)

var colours = map[string]string{"CRITICAL": "#7a0019", "HIGH": "#b3261e", "MEDIUM": "#b25e00", "LOW": "#4a5a6a"}

// plainID is the form of ids that may stand in a command without quotes.
var plainID = regexp.MustCompile(`^[0-9A-Za-z]{1,64}$`)

// findingReport describes a finding, or returns nil if detail is none.
func findingReport(detail json.RawMessage) *report {
	var f finding.Finding
	if json.Unmarshal(detail, &f) != nil || f.Type == "" {
		return nil
	}
	level := finding.Level(f.Severity)
	kind := line(f.Type, maxValue)
	r := &report{badge: level, colour: colours[level], headline: kind, lead: line(f.Title, maxText)}
	sample := f.Sample()
	if sample {
		r.badge += " SAMPLE"
	}
	if plainID.MatchString(f.ID) {
		r.thread = "finding-" + f.ID
	}
	where, container := placeOf(&f.Resource)
	object, subjectObject := objectOf(&f)
	r.subject = findingSubject(r.badge, &f, container, subjectObject)

	what := section{Heading: "What happened", Text: line(f.Description, maxText)}
	if sample {
		what.List = append(what.List, "This is a sample finding; nothing of it happened.")
	}
	what.add("Severity", level+" ("+strconv.FormatFloat(f.Severity, 'f', 1, 64)+" of 10)")
	r.addSection(what)
	r.addSection(where)
	if p := processOf(&f); p != nil {
		r.addSection(*p)
	}
	r.addSection(object)

	when := section{Heading: "When"}
	when.add("First seen", clock(f.Service.EventFirstSeen.Time))
	when.add("Last seen", clock(f.Service.EventLastSeen.Time))
	times := "once"
	if f.Service.Count > 1 {
		times = strconv.FormatInt(f.Service.Count, 10) + " times"
	}
	when.add("Seen", times)
	r.addSection(when)
	r.addSection(section{Heading: "What to look at next", List: adviceFor(f.Type)})

	more := section{Heading: "More"}
	more.add("Finding id", line(f.ID, maxValue))
	if i := f.Resource.InstanceDetails; i != nil && i.InstanceID != hostName(i) {
		more.add("Host id", line(i.InstanceID, maxValue))
	}
	more.add("Account", line(f.AccountID, maxName)+", Region "+line(f.Region, maxName))
	if plainID.MatchString(f.ID) && plainID.MatchString(f.Service.DetectorID) {
		more.Command = "aws guardduty get-findings --detector-id " + f.Service.DetectorID + " --finding-ids " + f.ID
	}
	r.addSection(more)
	return r
}

// findingSubject is for example "[HIGH] ReverseShell in container web (prod-web): bash -> 198.51.100.7:4444".
func findingSubject(badge string, f *finding.Finding, container, object string) string {
	kind := f.Type
	if _, after, ok := strings.Cut(kind, "/"); ok {
		kind = after
	}
	s := "[" + badge + "] " + line(kind, maxName)
	r := &f.Resource
	cluster := ""
	if r.ECSClusterDetails != nil {
		cluster = line(r.ECSClusterDetails.Name, 40)
	} else {
		cluster = line(hostName(r.InstanceDetails), 40)
	}
	switch {
	case container != "" && cluster != "":
		s += " in container " + bound(container, 40) + " (" + cluster + ")"
	case container != "":
		s += " in container " + bound(container, 40)
	case cluster != "":
		s += " on " + cluster
	}
	if d := f.Service.RuntimeDetails; d != nil && d.Process != nil && d.Process.Name != "" {
		s += ": " + line(d.Process.Name, 32)
		if object != "" {
			s += " -> " + bound(object, 60)
		}
	} else if object != "" {
		s += ": " + bound(object, 60)
	}
	return bound(s, maxSubject)
}

// placeOf describes the resource and returns the name of the container, if there is one.
func placeOf(r *finding.Resource) (where section, container string) {
	where.Heading = "Where"
	var box *finding.Container
	if c := r.ECSClusterDetails; c != nil {
		where.add("Cluster", line(c.Name, maxValue))
		if t := c.TaskDetails; t != nil {
			where.add("Service", line(strings.TrimPrefix(t.Group, "service:"), maxValue))
			where.add("Task", line(t.ARN, maxValue))
			definition := t.DefinitionARN
			if i := strings.LastIndexByte(definition, '/'); i >= 0 {
				definition = definition[i+1:]
			}
			where.add("Task definition", line(definition, maxValue))
			where.add("Launch type", line(t.LaunchType, maxName))
			if len(t.Containers) > 0 {
				box = &t.Containers[0]
			}
		}
	}
	if r.ContainerDetails != nil {
		box = r.ContainerDetails
	}
	if box != nil {
		container = line(box.Name, maxName)
		if container == "" {
			container = line(box.ID, 12)
		}
		id := strings.Map(asciiOnly, line(box.ID, maxValue))
		if box.Name != "" && id != "" {
			where.add("Container", line(box.Name, maxValue)+" ("+id[:min(12, len(id))]+")") // as much as the engine itself shows
		} else {
			where.add("Container", line(box.Name+box.ID, maxValue))
		}
		where.add("Image", line(box.Image, maxValue))
		if box.SecurityContext != nil && box.SecurityContext.Privileged {
			where.add("Privileged", "yes: this container can do almost anything on its host")
		}
	}
	if i := r.InstanceDetails; i != nil {
		where.add("Host", line(hostName(i), maxValue))
		where.add("Platform", line(i.Platform, maxValue))
	}
	return where, container
}

// hostName is what people call a host: its name where the finding has one, else its id, which is often a machine's number.
func hostName(i *finding.InstanceDetails) string {
	if i == nil {
		return ""
	}
	for _, n := range i.NetworkInterfaces {
		if n.PrivateDNSName != "" {
			return n.PrivateDNSName
		}
	}
	return i.InstanceID
}

// processOf describes the process and its ancestors as a tree, or returns nil if the finding has none.
func processOf(f *finding.Finding) *section {
	d := f.Service.RuntimeDetails
	if d == nil || d.Process == nil {
		return nil
	}
	p := d.Process
	s := &section{Heading: "Process"}
	s.add("Program", line(p.ExecutablePath, maxValue))
	s.add("SHA-256", line(p.ExecutableSHA256, maxValue))
	user := strconv.FormatUint(uint64(p.UserID), 10)
	if p.User != "" {
		user = line(p.User, maxName) + " (" + user + ")"
	}
	if p.EUID != p.UserID {
		user += ", effectively " + strconv.FormatUint(uint64(p.EUID), 10)
	}
	s.add("User", user)
	s.add("Folder", line(p.PWD, maxValue))
	s.add("Started", clock(instant(p.StartTime)))

	// The lineage has the nearest ancestor first; the tree begins with the farthest.
	lineage := p.Lineage
	if len(lineage) > maxLineage {
		s.Tree = append(s.Tree, "… "+strconv.Itoa(len(lineage)-maxLineage)+" more")
		lineage = lineage[:maxLineage]
	}
	for _, a := range slices.Backward(lineage) {
		s.Tree = append(s.Tree, node(a.Name, a.ExecutablePath, a.PID, a.NamespacePID, a.UserID))
	}
	s.Tree = append(s.Tree, node(p.Name, p.ExecutablePath, p.PID, p.NamespacePID, p.UserID)+"   <== this one")
	return s
}

// node is one process of a tree.
func node(name, path string, pid, nspid, user uint32) string {
	text := line(name, 32)
	if path != "" {
		text += "  " + line(path, 200)
	}
	text += fmt.Sprintf("  pid %d", pid)
	if nspid != 0 && nspid != pid {
		text += fmt.Sprintf(" (%d in the container)", nspid)
	}
	return text + fmt.Sprintf(", user %d", user)
}

// objectOf describes what the process acted on, at length and in a few words.
func objectOf(f *finding.Finding) (s section, brief string) {
	s.Heading = "What it acted on"
	say := func(name, value string) {
		value = line(value, maxValue)
		s.add(name, value)
		if brief == "" {
			brief = value
		}
	}
	if n := f.Service.Action.NetworkConnectionAction; n != nil {
		peer := ""
		if n.RemoteIPDetails != nil {
			peer = endpoint(n.RemoteIPDetails.IPAddressV4+n.RemoteIPDetails.IPAddressV6, n.RemotePortDetails.Port)
		}
		if peer != "" {
			say("Remote address", peer)
		}
		if n.LocalIPDetails != nil {
			s.add("Local address", line(endpoint(n.LocalIPDetails.IPAddressV4+n.LocalIPDetails.IPAddressV6, n.LocalPortDetails.Port), maxValue))
		}
		s.add("Connection", line(strings.TrimSpace(strings.ToLower(n.ConnectionDirection)+" "+n.Protocol), maxName))
		if g := n.RemoteIPDetails; g != nil && g.Organization != nil {
			s.add("Network", line(strings.TrimSpace(g.Organization.ASN+" "+g.Organization.ASNOrg), maxValue))
		}
	}
	if q := f.Service.Action.DNSRequestAction; q != nil {
		say("Domain", q.Domain)
		s.add("Protocol", line(q.Protocol, maxName))
	}
	if d := f.Service.RuntimeDetails; d != nil && d.Context != nil {
		c := d.Context
		if brief == "" && c.TargetProcess != nil {
			brief = line(c.TargetProcess.Name, maxName)
		}
		for _, v := range []row{
			{"Socket", c.SocketPath}, {"Target", targetOf(c.TargetProcess)}, {"Script", c.ScriptPath}, {"Library", c.LibraryPath}, {"LD_PRELOAD", c.LDPreloadValue},
			{"runc", c.RuncBinaryPath}, {"Release agent", c.ReleaseAgentPath}, {"Mounted", c.MountSource}, {"Mounted on", c.MountTarget}, {"File system", c.FileSystemType},
			{"Module", c.ModuleName}, {"Module file", c.ModuleFilePath}, {"History", c.ShellHistoryFilePath}, {"Tool", c.ToolName}, {"Command", c.CommandLineExample},
			{"Malicious file", c.ThreatFilePath}, {"File", c.FilePath}, {"Operation", c.FileOperation}, {"Memory", strings.Join(c.MemoryRegions, ", ")}} {
			if v.Value != "" {
				say(v.Name, v.Value)
			}
		}
		for _, path := range c.RelatedFilePaths[:min(len(c.RelatedFilePaths), 25)] {
			s.add("Related file", line(path, maxValue))
		}
		if w := c.ModifyingProcess; w != nil {
			s.add("Written by", node(w.Name, w.ExecutablePath, w.PID, w.NamespacePID, w.UserID))
		}
		s.add("Written at", clock(instant(c.ModifiedAt)))
	}
	if f.Type == "Execution:Runtime/NewBinaryExecuted" && brief == "" && f.Service.RuntimeDetails != nil && f.Service.RuntimeDetails.Process != nil {
		brief = line(f.Service.RuntimeDetails.Process.ExecutablePath, maxValue)
	}
	if e := f.Service.Evidence; e != nil {
		for _, t := range e.ThreatIntelligenceDetails[:min(len(e.ThreatIntelligenceDetails), 10)] {
			value := line(t.ThreatListName, maxName)
			if len(t.ThreatNames) > 0 {
				value += ": " + line(strings.Join(t.ThreatNames, ", "), maxValue)
			}
			s.add("On threat list", value)
		}
	}
	return s, brief
}

func targetOf(p *finding.Process) string {
	if p == nil {
		return ""
	}
	return node(p.Name, p.ExecutablePath, p.PID, p.NamespacePID, p.UserID)
}

func endpoint(address string, port uint16) string {
	if address == "" {
		return ""
	}
	if port == 0 {
		return address
	}
	return net.JoinHostPort(address, strconv.Itoa(int(port)))
}

// instant is the time of an Epoch, whose zero means unknown.
func instant(e finding.Epoch) time.Time {
	if e == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(e))
}

func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// asciiOnly drops what an id never holds.
func asciiOnly(r rune) rune {
	if r > '~' {
		return -1
	}
	return r
}
