package app

import (
	"encoding/json"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	"github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

// Clients are ordinary AWS SDK clients that talk to a Vedette server. Our own tools use the API that everybody uses.
type Clients struct {
	GuardDuty   *guardduty.Client
	EventBridge *eventbridge.Client
	SNS         *sns.Client
}

// NewClients returns clients for the server at the endpoint.
func NewClients(api, region string, keys Credentials) Clients {
	c := aws.Config{
		Region:       region,
		BaseEndpoint: aws.String(api),
		Credentials:  credentials.NewStaticCredentialsProvider(keys.AccessKeyID, keys.SecretAccessKey, ""),
	}
	return Clients{
		GuardDuty:   guardduty.NewFromConfig(c),
		EventBridge: eventbridge.NewFromConfig(c),
		SNS:         sns.NewFromConfig(c),
	}
}

// Clients returns clients for the server of this data folder.
func (d Data) Clients() (Clients, error) {
	at, err := d.Endpoints()
	if err != nil {
		return Clients{}, err
	}
	keys, err := d.Credentials()
	if err != nil {
		return Clients{}, err
	}
	return NewClients(at.API, at.Region, keys), nil
}

// IsSample reports whether the finding is a sample.
func IsSample(f types.Finding) bool {
	if f.Service == nil || f.Service.AdditionalInfo == nil {
		return false
	}
	var info struct {
		Sample bool `json:"sample"`
	}
	return json.Unmarshal([]byte(aws.ToString(f.Service.AdditionalInfo.Value)), &info) == nil && info.Sample
}
