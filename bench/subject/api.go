package subject

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	"github.com/aws/aws-sdk-go-v2/service/guardduty/types"
)

// AWS asks the program how to reach it (`vedette env`), and returns the configuration of a client of the service, named as in
// AWS_ENDPOINT_URL_….
func (s *Subject) AWS(ctx context.Context, service string) (aws.Config, error) {
	text, err := exec.CommandContext(ctx, s.binary, "--data", s.Data, "env", "--output", "json").Output()
	if err != nil {
		return aws.Config{}, fmt.Errorf("asking for the environment: %w", err)
	}
	var variables map[string]string
	if err := json.Unmarshal(text, &variables); err != nil {
		return aws.Config{}, fmt.Errorf("asking for the environment: %w", err)
	}
	return aws.Config{
		Region: variables["AWS_REGION"], BaseEndpoint: aws.String(variables["AWS_ENDPOINT_URL_"+service]),
		Credentials: credentials.NewStaticCredentialsProvider(variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"], ""),
	}, nil
}

// Enable makes the detector, unless there is one, so that events are not only collected but looked at. It returns its id.
func (s *Subject) Enable(ctx context.Context) (string, error) {
	config, err := s.AWS(ctx, "GUARDDUTY")
	if err != nil {
		return "", err
	}
	api := guardduty.NewFromConfig(config)
	list, err := api.ListDetectors(ctx, &guardduty.ListDetectorsInput{})
	if err != nil {
		return "", fmt.Errorf("enabling detection: %w", err)
	}
	if len(list.DetectorIds) > 0 {
		return list.DetectorIds[0], nil
	}
	made, err := api.CreateDetector(ctx, &guardduty.CreateDetectorInput{
		Enable:   aws.Bool(true),
		Features: []types.DetectorFeatureConfiguration{{Name: types.DetectorFeatureRuntimeMonitoring, Status: types.FeatureStatusEnabled}},
	})
	if err != nil {
		return "", fmt.Errorf("enabling detection: %w", err)
	}
	return aws.ToString(made.DetectorId), nil
}
