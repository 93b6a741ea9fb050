package finding

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// SchemaVersion is the version of the finding format that GuardDuty writes today.
const SchemaVersion = "2.0"

// Finding is one finding. Member names and the order of members are those of the wire.
type Finding struct {
	SchemaVersion string    `json:"schemaVersion"`
	AccountID     string    `json:"accountId"`
	Region        string    `json:"region"`
	Partition     string    `json:"partition"`
	ID            string    `json:"id"`
	ARN           string    `json:"arn"`
	Type          string    `json:"type"`
	Resource      Resource  `json:"resource"`
	Service       Service   `json:"service"`
	Severity      float64   `json:"severity"`
	CreatedAt     Timestamp `json:"createdAt"`
	UpdatedAt     Timestamp `json:"updatedAt"`
	Title         string    `json:"title"`
	Description   string    `json:"description"`
}

// The values of Resource.ResourceType for runtime findings.
const (
	ResourceInstance   = "Instance"
	ResourceECSCluster = "ECSCluster"
	ResourceContainer  = "Container"
)

// Resource says what was affected. ResourceType names the member that describes it.
type Resource struct {
	ResourceType      string             `json:"resourceType"`
	InstanceDetails   *InstanceDetails   `json:"instanceDetails,omitempty"`
	ECSClusterDetails *ECSClusterDetails `json:"ecsClusterDetails,omitempty"`
	ContainerDetails  *Container         `json:"containerDetails,omitempty"`
}

// InstanceDetails describes a host. Vedette fills what a host outside a cloud has; the others stay for samples.
type InstanceDetails struct {
	AvailabilityZone  string             `json:"availabilityZone,omitempty"`
	ImageDescription  string             `json:"imageDescription,omitempty"`
	ImageID           string             `json:"imageId,omitempty"`
	InstanceID        string             `json:"instanceId,omitempty"`
	InstanceState     string             `json:"instanceState,omitempty"`
	InstanceType      string             `json:"instanceType,omitempty"`
	LaunchTime        Timestamp          `json:"launchTime,omitzero"`
	NetworkInterfaces []NetworkInterface `json:"networkInterfaces,omitempty"`
	Platform          string             `json:"platform,omitempty"`
	Tags              []Tag              `json:"tags,omitempty"`
}

// NetworkInterface is one interface of an instance.
type NetworkInterface struct {
	NetworkInterfaceID string `json:"networkInterfaceId,omitempty"`
	PrivateDNSName     string `json:"privateDnsName,omitempty"`
	PrivateIPAddress   string `json:"privateIpAddress,omitempty"`
	PublicDNSName      string `json:"publicDnsName,omitempty"`
	PublicIP           string `json:"publicIp,omitempty"`
	SubnetID           string `json:"subnetId,omitempty"`
	VPCID              string `json:"vpcId,omitempty"`
}

// Tag is one tag of a resource.
type Tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// ECSClusterDetails describes an ECS cluster and the affected task in it.
type ECSClusterDetails struct {
	Name                              string       `json:"name,omitempty"`
	ARN                               string       `json:"arn,omitempty"`
	Status                            string       `json:"status,omitempty"`
	ActiveServicesCount               int          `json:"activeServicesCount,omitempty"`
	RegisteredContainerInstancesCount int          `json:"registeredContainerInstancesCount,omitempty"`
	RunningTasksCount                 int          `json:"runningTasksCount,omitempty"`
	Tags                              []Tag        `json:"tags,omitempty"`
	TaskDetails                       *TaskDetails `json:"taskDetails,omitempty"`
}

// TaskDetails describes an ECS task.
type TaskDetails struct {
	ARN           string      `json:"arn,omitempty"`
	DefinitionARN string      `json:"definitionArn,omitempty"`
	Version       string      `json:"version,omitempty"`
	CreatedAt     Epoch       `json:"createdAt,omitzero"`
	StartedAt     Epoch       `json:"startedAt,omitzero"`
	StartedBy     string      `json:"startedBy,omitempty"`
	Tags          []Tag       `json:"tags,omitempty"`
	Volumes       []Volume    `json:"volumes,omitempty"`
	Containers    []Container `json:"containers,omitempty"`
	Group         string      `json:"group,omitempty"`
	LaunchType    string      `json:"launchType,omitempty"`
}

// Volume is a volume of a task.
type Volume struct {
	Name     string    `json:"name,omitempty"`
	HostPath *HostPath `json:"hostPath,omitempty"`
}

// HostPath is the path of the host behind a volume.
type HostPath struct {
	Path string `json:"path"`
}

// Container describes a container.
type Container struct {
	ContainerRuntime string           `json:"containerRuntime,omitempty"`
	ID               string           `json:"id,omitempty"`
	Name             string           `json:"name,omitempty"`
	Image            string           `json:"image,omitempty"`
	ImagePrefix      string           `json:"imagePrefix,omitempty"`
	VolumeMounts     []VolumeMount    `json:"volumeMounts,omitempty"`
	SecurityContext  *SecurityContext `json:"securityContext,omitempty"`
}

// VolumeMount is one mount of a container.
type VolumeMount struct {
	Name      string `json:"name,omitempty"`
	MountPath string `json:"mountPath,omitempty"`
}

// SecurityContext says what a container may do.
type SecurityContext struct {
	Privileged bool `json:"privileged"`
}

// Service says what was seen, when and how often.
type Service struct {
	ServiceName    string          `json:"serviceName"`
	FeatureName    string          `json:"featureName"`
	DetectorID     string          `json:"detectorId"`
	Action         Action          `json:"action"`
	RuntimeDetails *RuntimeDetails `json:"runtimeDetails,omitempty"`
	Evidence       *Evidence       `json:"evidence,omitempty"`
	AdditionalInfo AdditionalInfo  `json:"additionalInfo"`
	EventFirstSeen Timestamp       `json:"eventFirstSeen"`
	EventLastSeen  Timestamp       `json:"eventLastSeen"`
	Archived       bool            `json:"archived"`
	Count          int64           `json:"count"`
	UserFeedback   string          `json:"userFeedback,omitempty"`
}

// The values of Action.ActionType for runtime findings; other findings leave it empty.
const (
	ActionNetworkConnection = "NETWORK_CONNECTION"
	ActionDNSRequest        = "DNS_REQUEST"
)

// Action is the network activity behind a finding; the zero Action is the wire's {}.
type Action struct {
	ActionType              string                   `json:"actionType,omitempty"`
	DNSRequestAction        *DNSRequestAction        `json:"dnsRequestAction,omitempty"`
	NetworkConnectionAction *NetworkConnectionAction `json:"networkConnectionAction,omitempty"`
}

// DNSRequestAction is a DNS question.
type DNSRequestAction struct {
	Domain            string `json:"domain,omitempty"`
	DomainWithSuffix  string `json:"domainWithSuffix,omitempty"`
	Protocol          string `json:"protocol,omitempty"`
	Blocked           bool   `json:"blocked"`
	VPCOwnerAccountID string `json:"vpcOwnerAccountId,omitempty"`
}

// NetworkConnectionAction is a connection or the attempt of one.
type NetworkConnectionAction struct {
	Blocked             bool        `json:"blocked"`
	ConnectionDirection string      `json:"connectionDirection,omitempty"`
	Protocol            string      `json:"protocol,omitempty"`
	LocalPortDetails    PortDetails `json:"localPortDetails"`
	LocalIPDetails      *IPDetails  `json:"localIpDetails,omitempty"`
	RemoteIPDetails     *IPDetails  `json:"remoteIpDetails,omitempty"`
	RemotePortDetails   PortDetails `json:"remotePortDetails"`
}

// PortDetails is a port and the name of its service.
type PortDetails struct {
	Port     uint16 `json:"port"`
	PortName string `json:"portName"`
}

// IPDetails is an address; exactly one of the two members is set. Remote addresses may carry where they are.
type IPDetails struct {
	IPAddressV4  string        `json:"ipAddressV4,omitempty"`
	IPAddressV6  string        `json:"ipAddressV6,omitempty"`
	Country      *Country      `json:"country,omitempty"`
	City         *City         `json:"city,omitempty"`
	GeoLocation  *GeoLocation  `json:"geoLocation,omitempty"`
	Organization *Organization `json:"organization,omitempty"`
}

// Country is the country of an address.
type Country struct {
	CountryCode string `json:"countryCode,omitempty"`
	CountryName string `json:"countryName,omitempty"`
}

// City is the city of an address.
type City struct {
	CityName string `json:"cityName,omitempty"`
}

// GeoLocation is the position of an address.
type GeoLocation struct {
	Lat float64 `json:"lat"`
	Lon float64 `json:"lon"`
}

// Organization is who runs the network of an address.
type Organization struct {
	ASN    string `json:"asn,omitempty"`
	ASNOrg string `json:"asnOrg,omitempty"`
	ISP    string `json:"isp,omitempty"`
	Org    string `json:"org,omitempty"`
}

// Evidence is what threat intelligence knows of the object.
type Evidence struct {
	ThreatIntelligenceDetails []ThreatIntelligenceDetail `json:"threatIntelligenceDetails"`
}

// ThreatIntelligenceDetail is one entry of one list.
type ThreatIntelligenceDetail struct {
	ThreatListName   string   `json:"threatListName,omitempty"`
	ThreatNames      []string `json:"threatNames,omitempty"`
	ThreatFileSHA256 string   `json:"threatFileSha256,omitempty"`
}

// RuntimeDetails is the process behind a finding and what it did.
type RuntimeDetails struct {
	Process *Process `json:"process,omitempty"`
	Context *Context `json:"context,omitempty"`
}

// Process describes a process. The numbers are always written: user 0 is root, not "unknown".
type Process struct {
	Name             string    `json:"name,omitempty"`
	ExecutablePath   string    `json:"executablePath,omitempty"`
	ExecutableSHA256 string    `json:"executableSha256,omitempty"`
	NamespacePID     uint32    `json:"namespacePid"`
	PWD              string    `json:"pwd,omitempty"`
	PID              uint32    `json:"pid"`
	StartTime        Epoch     `json:"startTime,omitzero"`
	UUID             string    `json:"uuid,omitempty"`
	ParentUUID       string    `json:"parentUuid,omitempty"`
	User             string    `json:"user,omitempty"`
	UserID           uint32    `json:"userId"`
	EUID             uint32    `json:"euid"`
	Lineage          []Lineage `json:"lineage"`
}

// Lineage is one ancestor of a process.
type Lineage struct {
	StartTime      Epoch  `json:"startTime,omitzero"`
	NamespacePID   uint32 `json:"namespacePid"`
	UserID         uint32 `json:"userId"`
	Name           string `json:"name,omitempty"`
	PID            uint32 `json:"pid"`
	UUID           string `json:"uuid,omitempty"`
	ExecutablePath string `json:"executablePath,omitempty"`
	EUID           uint32 `json:"euid"`
	ParentUUID     string `json:"parentUuid,omitempty"`
}

// Context is what the process did, by finding type. FileOperation, FilePath and RelatedFilePaths are in GuardDuty's
// documentation but not in every SDK.
type Context struct {
	ModifyingProcess     *Process `json:"modifyingProcess,omitempty"`
	ModifiedAt           Epoch    `json:"modifiedAt,omitzero"`
	ScriptPath           string   `json:"scriptPath,omitempty"`
	LibraryPath          string   `json:"libraryPath,omitempty"`
	LDPreloadValue       string   `json:"ldPreloadValue,omitempty"`
	SocketPath           string   `json:"socketPath,omitempty"`
	RuncBinaryPath       string   `json:"runcBinaryPath,omitempty"`
	ReleaseAgentPath     string   `json:"releaseAgentPath,omitempty"`
	MountSource          string   `json:"mountSource,omitempty"`
	MountTarget          string   `json:"mountTarget,omitempty"`
	FileSystemType       string   `json:"fileSystemType,omitempty"`
	Flags                []string `json:"flags,omitempty"`
	ModuleName           string   `json:"moduleName,omitempty"`
	ModuleFilePath       string   `json:"moduleFilePath,omitempty"`
	ModuleSHA256         string   `json:"moduleSha256,omitempty"`
	ShellHistoryFilePath string   `json:"shellHistoryFilePath,omitempty"`
	TargetProcess        *Process `json:"targetProcess,omitempty"`
	AddressFamily        string   `json:"addressFamily,omitempty"`
	IANAProtocolNumber   int      `json:"ianaProtocolNumber,omitempty"`
	MemoryRegions        []string `json:"memoryRegions,omitempty"`
	ToolName             string   `json:"toolName,omitempty"`
	ToolCategory         string   `json:"toolCategory,omitempty"`
	ServiceName          string   `json:"serviceName,omitempty"`
	CommandLineExample   string   `json:"commandLineExample,omitempty"`
	ThreatFilePath       string   `json:"threatFilePath,omitempty"`
	FileOperation        string   `json:"fileOperation,omitempty"`
	FilePath             string   `json:"filePath,omitempty"`
	RelatedFilePaths     []string `json:"relatedFilePaths,omitempty"`
}

// AdditionalInfo is a JSON object in a string. The API gives only Value and Type; on the event bus the object's members
// stand beside them as well.
type AdditionalInfo struct {
	Value string
	Type  string

	expanded bool
}

// NewAdditionalInfo returns the additional information that v, a value that marshals to a JSON object, describes.
func NewAdditionalInfo(v any) (AdditionalInfo, error) {
	b, err := encode(v)
	if err != nil {
		return AdditionalInfo{}, fmt.Errorf("additional info: %w", err)
	}
	return AdditionalInfo{Value: string(b), Type: "default"}, nil
}

// MarshalJSON writes {value,type}, preceded by the members of Value where the finding is rendered for the event bus.
func (a AdditionalInfo) MarshalJSON() ([]byte, error) {
	plain, err := encode(struct {
		Value string `json:"value"`
		Type  string `json:"type"`
	}{a.Value, a.Type})
	if err != nil || !a.expanded {
		return plain, err
	}
	members := bytes.TrimSpace([]byte(a.Value))
	if len(members) < 2 || members[0] != '{' || members[len(members)-1] != '}' {
		return plain, nil
	}
	members = bytes.TrimSpace(members[1 : len(members)-1])
	if len(members) == 0 {
		return plain, nil
	}
	out := append([]byte{'{'}, members...)
	out = append(out, ',')
	return append(out, plain[1:]...), nil
}

// UnmarshalJSON reads either form.
func (a *AdditionalInfo) UnmarshalJSON(b []byte) error {
	var plain struct {
		Value string `json:"value"`
		Type  string `json:"type"`
	}
	if err := json.Unmarshal(b, &plain); err != nil {
		return err
	}
	*a = AdditionalInfo{Value: plain.Value, Type: plain.Type}
	return nil
}

// JSON returns the finding as the API gives it.
func (f *Finding) JSON() ([]byte, error) {
	b, err := encode(f)
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", f.ID, err)
	}
	return b, nil
}

// Detail returns the finding as the detail of an event: the API's JSON with the members of additionalInfo expanded.
func (f *Finding) Detail() (json.RawMessage, error) {
	g := *f
	g.Service.AdditionalInfo.expanded = true
	return g.JSON()
}

// Parse reads what JSON or Detail wrote.
func Parse(text []byte) (*Finding, error) {
	f := &Finding{}
	if err := json.Unmarshal(text, f); err != nil {
		return nil, fmt.Errorf("reading a finding: %w", err)
	}
	return f, nil
}

// encode is json.Marshal without the escapes that only HTML needs: people read these texts.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Sample reports whether the finding is a sample.
func (f *Finding) Sample() bool {
	var info struct {
		Sample bool `json:"sample"`
	}
	return json.Unmarshal([]byte(f.Service.AdditionalInfo.Value), &info) == nil && info.Sample
}

// ResourceKey names the affected resource: a task's, cluster's or container's identity, or the host's.
func (f *Finding) ResourceKey() string {
	r := &f.Resource
	switch {
	case r.ECSClusterDetails != nil:
		if r.ECSClusterDetails.ARN != "" {
			return r.ECSClusterDetails.ARN
		}
		return r.ECSClusterDetails.Name
	case r.ContainerDetails != nil:
		return r.ContainerDetails.ID
	case r.InstanceDetails != nil:
		return r.InstanceDetails.InstanceID
	}
	return ""
}
