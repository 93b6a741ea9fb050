package main

// service says what to generate for one API.
type service struct {
	model, version string // file of the model and its API version
	pkg            string // Go package
	id             string // name for people
	doc            string
	operations     []string // those of the interface; the others are known by name only
	opaque         []string // shapes that pass through as JSON
	anonymous      []string // operations that need no signature
	internalError  string   // code of a failure that is the server's fault
}

var services = []service{
	{
		model: "guardduty", version: "2017-11-28", pkg: "guardduty", id: "GuardDuty",
		doc:           "the GuardDuty API: detectors, findings, filters, lists and coverage",
		opaque:        []string{"Finding"},
		internalError: "InternalServerErrorException",
		operations: []string{
			"CreateDetector", "GetDetector", "UpdateDetector", "ListDetectors", "DeleteDetector",
			"ListFindings", "GetFindings", "ArchiveFindings", "UnarchiveFindings", "UpdateFindingsFeedback",
			"GetFindingsStatistics", "CreateSampleFindings",
			"CreateFilter", "GetFilter", "UpdateFilter", "ListFilters", "DeleteFilter",
			"CreateThreatIntelSet", "GetThreatIntelSet", "UpdateThreatIntelSet", "ListThreatIntelSets", "DeleteThreatIntelSet",
			"CreateIPSet", "GetIPSet", "UpdateIPSet", "ListIPSets", "DeleteIPSet",
			"CreateThreatEntitySet", "GetThreatEntitySet", "UpdateThreatEntitySet", "ListThreatEntitySets", "DeleteThreatEntitySet",
			"CreateTrustedEntitySet", "GetTrustedEntitySet", "UpdateTrustedEntitySet", "ListTrustedEntitySets", "DeleteTrustedEntitySet",
			"ListCoverage", "GetCoverageStatistics",
			"TagResource", "UntagResource", "ListTagsForResource",
		},
	},
	{
		model: "events", version: "2015-10-07", pkg: "eventbridge", id: "EventBridge",
		doc:           "the EventBridge API: event buses, rules and targets, archives and replays",
		internalError: "InternalException",
		operations: []string{
			"PutRule", "DescribeRule", "ListRules", "DeleteRule", "EnableRule", "DisableRule",
			"PutTargets", "ListTargetsByRule", "RemoveTargets", "ListRuleNamesByTarget",
			"PutEvents", "TestEventPattern",
			"CreateEventBus", "UpdateEventBus", "DescribeEventBus", "ListEventBuses", "DeleteEventBus",
			"PutPermission", "RemovePermission",
			"TagResource", "UntagResource", "ListTagsForResource",
			"CreateArchive", "DescribeArchive", "ListArchives", "UpdateArchive", "DeleteArchive",
			"StartReplay", "DescribeReplay", "ListReplays", "CancelReplay",
		},
	},
	{
		model: "sns", version: "2010-03-31", pkg: "sns", id: "SNS",
		doc:           "the SNS API: topics, subscriptions and publishing",
		internalError: "InternalError",
		anonymous:     []string{"ConfirmSubscription", "Unsubscribe"},
		operations: []string{
			"CreateTopic", "DeleteTopic", "ListTopics", "GetTopicAttributes", "SetTopicAttributes",
			"Subscribe", "ConfirmSubscription", "Unsubscribe", "ListSubscriptions", "ListSubscriptionsByTopic",
			"GetSubscriptionAttributes", "SetSubscriptionAttributes",
			"Publish", "PublishBatch", "AddPermission", "RemovePermission",
			"TagResource", "UntagResource", "ListTagsForResource",
		},
	},
}
