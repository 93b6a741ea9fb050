package awsapi

type CoverageLister interface{}
