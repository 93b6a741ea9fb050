package mail

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
)

// issueTitle is the form of what stands before the text of an issue, such as "Agent exited".
var issueTitle = regexp.MustCompile(`^[A-Za-z ]{1,60}$`)

// coverageReport describes a change of coverage, or returns nil if detail is none.
func coverageReport(detail json.RawMessage, account, region string) *report {
	var d struct {
		CurrentStatus   string `json:"currentStatus"`
		PreviousStatus  string `json:"previousStatus"`
		Issue           string `json:"issue"`
		LastUpdatedAt   string `json:"lastUpdatedAt"`
		ResourceDetails struct {
			ResourceType      string `json:"resourceType"`
			ECSClusterDetails *struct {
				ClusterName    string `json:"clusterName"`
				FargateDetails *struct {
					Issues         []string `json:"issues"`
					ManagementType string   `json:"managementType"`
				} `json:"fargateDetails"`
			} `json:"ecsClusterDetails"`
			EC2InstanceDetails *struct {
				InstanceID     string `json:"instanceId"`
				ManagementType string `json:"managementType"`
			} `json:"ec2InstanceDetails"`
			EKSClusterDetails *struct {
				ClusterName string `json:"clusterName"`
			} `json:"eksClusterDetails"`
		} `json:"resourceDetails"`
	}
	if json.Unmarshal(detail, &d) != nil || d.CurrentStatus == "" {
		return nil
	}
	healthy := strings.EqualFold(d.CurrentStatus, "healthy")
	kind, name, managed := line(d.ResourceDetails.ResourceType, maxName), "", ""
	var issues []string
	seen := map[string]bool{}
	issue := func(s string) {
		// The event names an issue as "Title:Text", the details as the text alone.
		text, bare := s, s
		if title, rest, ok := strings.Cut(s, ":"); ok && issueTitle.MatchString(title) && !strings.HasPrefix(rest, " ") {
			text, bare = title+": "+rest, rest
			if strings.HasPrefix(rest, title) {
				text = rest
			}
		}
		if text = line(text, maxText); text != "" && !seen[bare] && len(issues) < 20 {
			seen[bare] = true
			issues = append(issues, text)
		}
	}
	issue(d.Issue)
	what := "resource"
	if c := d.ResourceDetails.ECSClusterDetails; c != nil {
		what, name = "cluster", line(c.ClusterName, maxValue)
		if c.FargateDetails != nil {
			for _, s := range c.FargateDetails.Issues {
				issue(s)
			}
			managed = line(c.FargateDetails.ManagementType, maxName)
		}
	} else if i := d.ResourceDetails.EC2InstanceDetails; i != nil {
		what, name, managed = "host", line(i.InstanceID, maxValue), line(i.ManagementType, maxName)
	} else if c := d.ResourceDetails.EKSClusterDetails; c != nil {
		what, name = "cluster", line(c.ClusterName, maxValue)
	}

	r := &report{badge: "UNHEALTHY", colour: "#b3261e", headline: "Runtime coverage of " + what + " " + name + " was lost",
		lead: "Vedette does not see everything that runs there any more: an attack could go unnoticed."}
	if healthy {
		r.badge, r.colour = "HEALTHY", "#1e7b34"
		r.headline = "Runtime coverage of " + what + " " + name + " is back"
		r.lead = "All that should be watched there is being watched."
	}
	r.subject = "[" + r.badge + "] runtime coverage of " + what + " " + bound(name, 60)
	if !healthy && len(issues) > 0 {
		r.subject += ": " + issues[0]
		if more := len(issues) - 1; more > 0 {
			r.subject = bound(r.subject, maxSubject-20) + " (and " + strconv.Itoa(more) + " more)"
		}
	}
	r.subject = bound(r.subject, maxSubject)

	happened := section{Heading: "What happened", List: issues}
	happened.add("Status", line(d.PreviousStatus, maxName)+" -> "+line(d.CurrentStatus, maxName))
	happened.add("Since", line(d.LastUpdatedAt, maxName))
	r.addSection(happened)

	where := section{Heading: "Where"}
	where.add(strings.ToUpper(what[:1])+what[1:], name)
	where.add("Kind", kind)
	where.add("Agent management", managed)
	where.add("Account", line(account, maxName)+", Region "+line(region, maxName))
	r.addSection(where)
	if !healthy {
		r.addSection(section{Heading: "What to look at next", List: []string{
			"Is the service meant to run? One that was scaled to 0 or stopped on purpose has no agent either.",
			"Does the agent run beside the tasks named above, and does its log say why it stopped or cannot connect?",
			"Did somebody stop the agent? Look for what ran there just before: the last findings and the audit log of the cluster.",
		}})
	}
	r.addSection(section{Heading: "More", Command: "aws guardduty list-coverage --detector-id $(aws guardduty list-detectors --query 'DetectorIds[0]' --output text)"})
	return r
}
