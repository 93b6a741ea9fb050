package app

import (
	"encoding/json"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
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
		// The SDK closes a request's body as soon as an answer begins. A server on the same machine answers before the HTTP
		// client has noticed that it wrote everything, which then fails the call, on a busy machine one in a hundred. The
		// SDK tries again after up to a second, for a service far away; here there is nothing to wait for.
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = 5, 20*time.Millisecond })
		},
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
