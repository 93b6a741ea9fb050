package finding

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"
	"time"

	"vedette.dev/vedette/internal/event"
)

// Identity says whose findings these are.
type Identity struct {
	AccountID, Region, DetectorID string
}

// ARN returns the ARN of the finding with the given id.
func (i Identity) ARN(id string) string {
	return "arn:aws:guardduty:" + i.Region + ":" + i.AccountID + ":detector/" + i.DetectorID + "/finding/" + id
}

// FindingID returns the id of the finding of the given type with the given aggregation key: 32 hex digits, the same each
// time, so that repeats meet the finding that is already there.
func (i Identity) FindingID(typ, key string) string {
	h := sha256.New()
	for _, s := range [...]string{"vedette finding", i.DetectorID, typ, key} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Host is the machine that an agent runs on.
type Host struct {
	ID      string // stable and unique; the name where nothing better is known
	Name    string
	Kernel  string
	AgentID string
	Version string // the agent's
}

// Occurrence is what detection saw once (or Count times in one event). It borrows Process and Container from the event;
// nobody may change them afterwards.
type Occurrence struct {
	Type        string
	Severity    float64 // 0: the type's default
	Title       string  // "": the type's default
	Description string
	Key         string // aggregation key: occurrences of one type with one key are one finding
	Time        time.Time
	Count       int64 // at least 1

	Host      Host
	Process   *event.Process
	Container *event.Container // nil for a process of the host itself

	Action  Action
	Context Context
	Threat  []ThreatIntelligenceDetail
	Info    Info
}

// Info is what additionalInfo holds besides the members that every finding has.
type Info struct {
	ThreatListName string        `json:"threatListName,omitempty"`
	ThreatName     string        `json:"threatName,omitempty"`
	Sample         bool          `json:"sample,omitempty"`
	Error          string        `json:"error,omitempty"`  // the error with which the attempt failed, e.g. ECONNREFUSED
	Folded         string        `json:"folded,omitempty"` // says so when one finding stands for many objects
	AgentDetails   *AgentDetails `json:"agentDetails,omitempty"`
}

// AgentDetails says which agent reported.
type AgentDetails struct {
	AgentVersion string `json:"agentVersion"`
	AgentID      string `json:"agentId"`
}

// New returns the finding that a first occurrence makes.
func New(id Identity, occ *Occurrence, now time.Time) *Finding {
	fid := id.FindingID(occ.Type, occ.Key)
	f := &Finding{
		SchemaVersion: SchemaVersion,
		AccountID:     id.AccountID,
		Region:        id.Region,
		Partition:     "aws",
		ID:            fid,
		ARN:           id.ARN(fid),
		Type:          occ.Type,
		CreatedAt:     At(now),
		UpdatedAt:     At(now),
		Service: Service{
			ServiceName:    "guardduty",
			FeatureName:    "RuntimeMonitoring",
			DetectorID:     id.DetectorID,
			EventFirstSeen: At(occ.Time),
			EventLastSeen:  At(occ.Time),
			Count:          max(1, occ.Count),
		},
	}
	f.describe(occ)
	return f
}

// Merge adds repeats, which are a finding of the same id made by [New] or [Samples], to a finding that exists: the count
// rises, updatedAt and eventLastSeen move, createdAt, eventFirstSeen, the archived mark and feedback stay, and the details
// become those of the latest occurrence. An occurrence that is older than the latest one only counts, because events of
// several agents arrive out of order.
func Merge(f, repeats *Finding) {
	f.Service.Count += repeats.Service.Count
	if repeats.UpdatedAt.After(f.UpdatedAt.Time) {
		f.UpdatedAt = repeats.UpdatedAt
	}
	if repeats.Service.EventFirstSeen.Before(f.Service.EventFirstSeen.Time) {
		f.Service.EventFirstSeen = repeats.Service.EventFirstSeen
	}
	if repeats.Service.EventLastSeen.Before(f.Service.EventLastSeen.Time) {
		return
	}
	f.Service.EventLastSeen = repeats.Service.EventLastSeen
	f.Severity, f.Title, f.Description, f.Resource = repeats.Severity, repeats.Title, repeats.Description, repeats.Resource
	f.Service.Action, f.Service.RuntimeDetails = repeats.Service.Action, repeats.Service.RuntimeDetails
	f.Service.Evidence, f.Service.AdditionalInfo = repeats.Service.Evidence, repeats.Service.AdditionalInfo
}

// describe sets everything that the latest occurrence decides.
func (f *Finding) describe(occ *Occurrence) {
	typ, _ := Lookup(occ.Type)
	f.Severity, f.Title, f.Description = typ.Severity, typ.Title, typ.Description
	if occ.Severity != 0 {
		f.Severity = occ.Severity
	}
	if occ.Title != "" {
		f.Title = occ.Title
	}
	if occ.Description != "" {
		f.Description = occ.Description
	}
	f.Resource = resourceOf(occ)
	f.Service.Action = occ.Action
	f.Service.Evidence = nil
	if len(occ.Threat) > 0 {
		f.Service.Evidence = &Evidence{ThreatIntelligenceDetails: occ.Threat}
	}
	f.Service.RuntimeDetails = nil
	if occ.Process != nil {
		context := occ.Context
		f.Service.RuntimeDetails = &RuntimeDetails{Process: ProcessOf(occ.Process), Context: &context}
	}
	info := occ.Info
	if occ.Host.AgentID != "" {
		info.AgentDetails = &AgentDetails{AgentVersion: occ.Host.Version, AgentID: occ.Host.AgentID}
	}
	// Info holds strings and one bool only: it always marshals.
	f.Service.AdditionalInfo, _ = NewAdditionalInfo(info)
}

func resourceOf(occ *Occurrence) Resource {
	c := occ.Container
	host := &InstanceDetails{InstanceID: occ.Host.ID, Platform: "linux"}
	if host.InstanceID == "" {
		host.InstanceID = occ.Host.Name
	}
	if occ.Host.Name != "" && occ.Host.Name != host.InstanceID {
		host.NetworkInterfaces = []NetworkInterface{{PrivateDNSName: occ.Host.Name}}
	}
	if c == nil {
		return Resource{ResourceType: ResourceInstance, InstanceDetails: host}
	}
	container := ContainerOf(c)
	if c.Task == nil {
		return Resource{ResourceType: ResourceContainer, InstanceDetails: host, ContainerDetails: &container}
	}
	t := c.Task
	if t.ContainerName != "" {
		container.Name = t.ContainerName
	}
	task := &TaskDetails{
		ARN:           t.ARN,
		DefinitionARN: t.DefinitionARN,
		CreatedAt:     Epoch(t.CreatedAt),
		StartedAt:     Epoch(t.StartedAt),
		StartedBy:     t.StartedBy,
		Containers:    []Container{container},
		LaunchType:    t.LaunchType,
	}
	switch {
	case t.Service != "":
		task.Group = "service:" + t.Service
	case t.Family != "":
		task.Group = "family:" + t.Family
	}
	for _, m := range c.Mounts {
		if m.Name != "" {
			task.Volumes = append(task.Volumes, Volume{Name: m.Name, HostPath: &HostPath{Path: m.Source}})
		}
	}
	cluster := &ECSClusterDetails{Name: c.Cluster, ARN: t.ClusterARN, Status: "ACTIVE", TaskDetails: task}
	if cluster.Name == "" {
		cluster.Name = t.ClusterARN[strings.LastIndexByte(t.ClusterARN, '/')+1:]
	}
	r := Resource{ResourceType: ResourceECSCluster, ECSClusterDetails: cluster}
	if t.LaunchType != "FARGATE" {
		r.InstanceDetails = host
	}
	return r
}

// ContainerOf returns the wire form of a container.
func ContainerOf(c *event.Container) Container {
	w := Container{
		ContainerRuntime: c.Runtime,
		ID:               c.ID,
		Name:             c.Name,
		Image:            c.Image,
		ImagePrefix:      ImagePrefix(c.Image),
		SecurityContext:  &SecurityContext{Privileged: c.Privileged},
	}
	for _, m := range c.Mounts {
		name := m.Name
		if name == "" {
			name = m.Source
		}
		w.VolumeMounts = append(w.VolumeMounts, VolumeMount{Name: name, MountPath: m.Target})
	}
	return w
}

// ImagePrefix returns an image's name up to its last slash, or "" where it has none.
func ImagePrefix(image string) string {
	if i := strings.LastIndexByte(image, '/'); i >= 0 {
		return image[:i]
	}
	return ""
}

// ProcessOf returns the wire form of a process with its lineage, nearest ancestor first.
func ProcessOf(p *event.Process) *Process {
	if p == nil {
		return nil
	}
	w := &Process{
		Name:             p.Name,
		ExecutablePath:   p.ExePath,
		ExecutableSHA256: p.SHA256,
		NamespacePID:     p.NSPID,
		PWD:              p.Cwd,
		PID:              p.PID,
		StartTime:        Epoch(p.StartTime),
		UUID:             p.UUID.String(),
		ParentUUID:       p.ParentUUID.String(),
		User:             p.User,
		UserID:           p.UID,
		EUID:             p.EUID,
		Lineage:          []Lineage{},
	}
	if w.ParentUUID == "" && p.Parent != nil {
		w.ParentUUID = p.Parent.UUID.String()
	}
	for a := range p.Ancestors {
		parent := a.ParentUUID.String()
		if parent == "" && a.Parent != nil {
			parent = a.Parent.UUID.String()
		}
		w.Lineage = append(w.Lineage, Lineage{
			StartTime:      Epoch(a.StartTime),
			NamespacePID:   a.NSPID,
			UserID:         a.UID,
			Name:           a.Name,
			PID:            a.PID,
			UUID:           a.UUID.String(),
			ExecutablePath: a.ExePath,
			EUID:           a.EUID,
			ParentUUID:     parent,
		})
	}
	return w
}

// IPOf returns the wire form of an address.
func IPOf(ip netip.Addr) *IPDetails {
	ip = ip.Unmap()
	switch {
	case ip.Is4():
		return &IPDetails{IPAddressV4: ip.String()}
	case ip.Is6():
		return &IPDetails{IPAddressV6: ip.WithZone("").String()}
	}
	return nil
}

// PortOf returns the wire form of a port.
func PortOf(port uint16) PortDetails {
	name, ok := portNames[port]
	if !ok {
		name = "Unknown"
	}
	return PortDetails{Port: port, PortName: name}
}

// portNames are the names that GuardDuty uses for the services people know by number.
var portNames = map[uint16]string{
	20: "FTP Data", 21: "FTP", 22: "SSH", 23: "Telnet", 25: "SMTP", 53: "DNS", 80: "HTTP", 110: "POP3", 123: "NTP",
	143: "IMAP", 389: "LDAP", 443: "HTTPS", 445: "SMB", 587: "SMTP", 993: "IMAPS", 1433: "MSSQL", 3306: "MySQL",
	3389: "RDP", 5432: "PostgreSQL", 6379: "Redis", 8080: "HTTP", 8443: "HTTPS", 27017: "MongoDB",
}

// Quote returns text that the workload chose in a form fit for a title or a description: printable, in single quotes, and
// at most 120 bytes long.
func Quote(s string) string {
	return "'" + event.PrintableN(s, 120) + "'"
}
