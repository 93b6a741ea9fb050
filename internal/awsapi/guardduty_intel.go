package awsapi

type ThreatIntel interface{}
