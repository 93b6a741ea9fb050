package finding

import (
	"fmt"
	"strings"
	"time"
)

// UnknownTypeError says that there is no such finding type.
type UnknownTypeError struct{ Type string }

func (e *UnknownTypeError) Error() string { return fmt.Sprintf("unknown finding type %.100q", e.Type) }

// Samples returns one sample finding for each of the given types, or for every type when there is none given. A sample has
// the members that a real finding of its type has, filled with placeholders, and additionalInfo.sample is true. Samples of
// one type always have the same id, so that a repeated sample raises the count. The only error is *UnknownTypeError.
func Samples(names []string, id Identity, now time.Time) ([]*Finding, error) {
	if len(names) == 0 {
		for _, t := range types {
			names = append(names, t.Name)
		}
	}
	samples := make([]*Finding, 0, len(names))
	for _, name := range names {
		t, ok := Lookup(name)
		if !ok {
			return nil, &UnknownTypeError{name}
		}
		samples = append(samples, sample(t, id, now))
	}
	return samples, nil
}

const (
	placeholderProcess = "GeneratedFindingProcessName"
	placeholderPath    = "GeneratedFindingPath"
	placeholderHash    = "GeneratedFindingHash"
	placeholderUUID    = "GeneratedFindingUUId"
	placeholderList    = "GeneratedFindingThreatListName"
)

func sample(t Type, id Identity, now time.Time) *Finding {
	fid := id.FindingID(t.Name, "sample")
	process := sampleProcess(now)
	context := sampleContext(t.shape, now)
	info := Info{Sample: true, AgentDetails: &AgentDetails{AgentVersion: "1", AgentID: "GeneratedFindingAgentId"}}
	f := &Finding{
		SchemaVersion: SchemaVersion,
		AccountID:     id.AccountID,
		Region:        id.Region,
		Partition:     "aws",
		ID:            fid,
		ARN:           id.ARN(fid),
		Type:          t.Name,
		Resource:      sampleResource(t, id, now),
		Service: Service{
			ServiceName:    "guardduty",
			FeatureName:    "RuntimeMonitoring",
			DetectorID:     id.DetectorID,
			RuntimeDetails: &RuntimeDetails{Process: process, Context: &context},
			EventFirstSeen: At(now),
			EventLastSeen:  At(now),
			Count:          1,
		},
		Severity:    t.Severity,
		CreatedAt:   At(now),
		UpdatedAt:   At(now),
		Title:       t.Title,
		Description: t.Description + " This is a sample: nothing happened.",
	}
	switch t.shape {
	case shapeNetwork:
		f.Service.Action = sampleConnection()
	case shapeDNS, shapeRebind:
		f.Service.Action = sampleRequest(id)
	case shapeShell:
		f.Service.Action = sampleConnection()
		f.Service.RuntimeDetails.Context.AddressFamily = "AF_INET"
	}
	if t.shape == shapeNetwork || t.shape == shapeDNS || t.shape == shapeThreatFile {
		info.ThreatListName = placeholderList
		evidence := ThreatIntelligenceDetail{ThreatListName: placeholderList, ThreatNames: []string{"GeneratedFindingThreatName"}}
		if t.shape == shapeThreatFile {
			evidence.ThreatFileSHA256 = placeholderHash
		}
		f.Service.Evidence = &Evidence{ThreatIntelligenceDetails: []ThreatIntelligenceDetail{evidence}}
	}
	// Info holds strings and one bool only: it always marshals.
	f.Service.AdditionalInfo, _ = NewAdditionalInfo(info)
	return f
}

func sampleConnection() Action {
	return Action{ActionType: ActionNetworkConnection, NetworkConnectionAction: &NetworkConnectionAction{
		ConnectionDirection: "OUTBOUND",
		Protocol:            "TCP",
		LocalPortDetails:    PortDetails{Port: 39677, PortName: "Unknown"},
		LocalIPDetails:      &IPDetails{IPAddressV4: "10.0.0.23"},
		RemoteIPDetails: &IPDetails{
			IPAddressV4:  "198.51.100.0",
			Country:      &Country{CountryName: "GeneratedFindingCountryName"},
			City:         &City{CityName: "GeneratedFindingCityName"},
			GeoLocation:  &GeoLocation{},
			Organization: &Organization{ASN: "-1", ASNOrg: "GeneratedFindingASNOrg", ISP: "GeneratedFindingISP", Org: "GeneratedFindingORG"},
		},
		RemotePortDetails: PortOf(80),
	}}
}

func sampleRequest(id Identity) Action {
	return Action{ActionType: ActionDNSRequest, DNSRequestAction: &DNSRequestAction{
		Domain:            "GeneratedFindingDomainName",
		DomainWithSuffix:  "GeneratedFindingDomainName",
		Protocol:          "UDP",
		VPCOwnerAccountID: id.AccountID,
	}}
}

func sampleProcess(now time.Time) *Process {
	start := Epoch(At(now).UnixNano())
	ancestor := func(pid uint32) Lineage {
		return Lineage{StartTime: start, NamespacePID: pid, UserID: 1000, Name: placeholderProcess, PID: pid,
			UUID: placeholderUUID, ExecutablePath: placeholderPath, EUID: 1000, ParentUUID: placeholderUUID}
	}
	return &Process{
		Name:             placeholderProcess,
		ExecutablePath:   placeholderPath,
		ExecutableSHA256: placeholderHash,
		NamespacePID:     1234,
		PWD:              placeholderPath,
		PID:              1234,
		StartTime:        start,
		UUID:             placeholderUUID,
		ParentUUID:       placeholderUUID,
		User:             "ec2-user",
		UserID:           1000,
		EUID:             1000,
		Lineage:          []Lineage{ancestor(1233), ancestor(1230)},
	}
}

func sampleContext(s shape, now time.Time) Context {
	switch s {
	case shapeBinary:
		return Context{ModifyingProcess: sampleProcess(now), ModifiedAt: Epoch(At(now).UnixNano())}
	case shapeLibrary:
		return Context{LibraryPath: placeholderPath, LDPreloadValue: placeholderPath,
			ModifyingProcess: sampleProcess(now), ModifiedAt: Epoch(At(now).UnixNano())}
	case shapeSocket:
		return Context{SocketPath: "/var/run/docker.sock"}
	case shapeRunc:
		return Context{RuncBinaryPath: placeholderPath}
	case shapeReleaseAgent:
		return Context{ReleaseAgentPath: placeholderPath}
	case shapeMount:
		return Context{MountSource: placeholderPath, MountTarget: placeholderPath, FileSystemType: "GeneratedFindingFileSystemType",
			Flags: []string{"GeneratedFindingFlag"}}
	case shapeTarget:
		return Context{TargetProcess: sampleProcess(now)}
	case shapeMemory:
		return Context{MemoryRegions: []string{"GeneratedFindingMemoryRegion"}}
	case shapeCommand:
		return Context{CommandLineExample: "GeneratedFindingCommandLine", ServiceName: "GeneratedFindingServiceName"}
	case shapeFile:
		return Context{FilePath: placeholderPath, FileOperation: "Write", RelatedFilePaths: []string{placeholderPath}}
	case shapeModule:
		return Context{ModuleName: "GeneratedFindingModuleName", ModuleFilePath: placeholderPath, ModuleSHA256: placeholderHash}
	case shapeShell:
		return Context{AddressFamily: "AF_INET", IANAProtocolNumber: 6}
	case shapeTool:
		return Context{ToolName: "GeneratedFindingToolName", ToolCategory: "Pentest Tool"}
	case shapeThreatFile:
		return Context{ThreatFilePath: placeholderPath}
	}
	return Context{}
}

// sampleResource gives a task on ECS, except for what needs a host of one's own.
func sampleResource(t Type, id Identity, now time.Time) Resource {
	if strings.HasSuffix(t.Name, "KernelModuleLoaded") {
		return Resource{ResourceType: ResourceInstance, InstanceDetails: &InstanceDetails{
			AvailabilityZone: "GeneratedFindingAvailabilityZone",
			ImageDescription: "GeneratedFindingInstanceImageDescription",
			ImageID:          "ami-99999999",
			InstanceID:       "i-99999999",
			InstanceState:    "running",
			InstanceType:     "m3.xlarge",
			LaunchTime:       At(now),
			NetworkInterfaces: []NetworkInterface{{NetworkInterfaceID: "eni-abcdef00", PrivateDNSName: "GeneratedFindingPrivateDnsName",
				PrivateIPAddress: "10.0.0.1", PublicDNSName: "GeneratedFindingPublicDNSName", PublicIP: "198.51.100.0",
				SubnetID: "GeneratedFindingSubnetId", VPCID: "GeneratedFindingVPCId"}},
			Tags: []Tag{{"GeneratedFindingInstanceTag1", "GeneratedFindingInstanceValue1"}},
		}}
	}
	arn := "arn:aws:ecs:" + id.Region + ":" + id.AccountID + ":"
	return Resource{ResourceType: ResourceECSCluster, ECSClusterDetails: &ECSClusterDetails{
		Name:                "GeneratedFindingECSClusterName",
		ARN:                 arn + "cluster/clusterName",
		Status:              "ACTIVE",
		ActiveServicesCount: 1,
		RunningTasksCount:   1,
		Tags:                []Tag{{"GeneratedFindingECSClusterTag1", "GeneratedFindingECSClusterTagValue1"}},
		TaskDetails: &TaskDetails{
			ARN:           arn + "task/mycluster/043de9ab3",
			DefinitionARN: arn + "task-definition/mycluster/76f1f1asdf",
			Version:       "1",
			CreatedAt:     Epoch(At(now).UnixNano()),
			StartedAt:     Epoch(At(now).UnixNano()),
			StartedBy:     "GeneratedFindingECSTaskStartedBy",
			Volumes:       []Volume{{Name: "GeneratedFindingVolumeName", HostPath: &HostPath{Path: placeholderPath}}},
			Containers: []Container{{
				ContainerRuntime: "containerd",
				ID:               "GeneratedFindingContainerId",
				Name:             "GeneratedFindingContainerName",
				Image:            "GeneratedFindingContainerImage",
				VolumeMounts:     []VolumeMount{{Name: "GeneratedFindingVolumeName", MountPath: placeholderPath}},
				SecurityContext:  &SecurityContext{},
			}},
			Group:      "GeneratedFindingECSTaskGroup",
			LaunchType: "FARGATE",
		},
	}}
}
