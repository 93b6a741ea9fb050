package rules

import (
	"fmt"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/command"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

const (
	// explores is how many different ordinary questions about a system within exploreTime, asked by one process or by
	// the children of one, look like somebody finding their way.
	explores    = 4
	exploreTime = 60e9
	// maxExplorers bounds how many askers a place remembers.
	maxExplorers = 16
)

// discoveryCommand is Discovery:Runtime/SuspiciousCommand: a process finds out about the system, the cloud account or the cluster
// as somebody does who has just come in. Some questions are telling by themselves (set-user-id programs, passwords, the
// credentials of the machine or the cluster); ordinary ones (whoami, uname -a, ps) only when one asker puts four different ones
// within a minute, or when a network service has asked one.
//
// What stays quiet: ordinary questions on a host, and by who came into a container from it (docker exec); a person's session, an image's entrypoint, builds, and package managers. State per place: the last 16 askers.
func discoveryCommand() detect.Rule {
	type asker struct {
		uuid  event.UUID
		since int64
		asked uint64 // bits of questions
	}
	type askers struct {
		list [maxExplorers]asker
		next int
	}
	places := newMemory[askers](512)
	inner := suspiciousCommand("Discovery:Runtime/SuspiciousCommand", discoveryCommands, discoveryAdvice)
	names := make([]string, 0, len(questions))
	for name := range questions {
		names = append(names, name)
	}
	for i := range discoveryCommands {
		names = append(names, discoveryCommands[i].names...)
	}
	return detect.Rule{
		Type:    "Discovery:Runtime/SuspiciousCommand",
		Pattern: `{"kind":["exec"],"errno":[0],"command":{"name":` + jsonNames(names) + `}}`,
		Detect: func(m *detect.Match) bool {
			if inner.Detect(m) {
				return true
			}
			p := m.Process
			commands := m.Facts.Commands()
			var asked uint64
			for i := range commands {
				c := &commands[i]
				if q, ok := questions[c.Name]; ok && q.asks(c) {
					asked |= 1 << q.bit
				}
			}
			if asked == 0 {
				return false
			}
			l := line{m: m}
			if l.excused(withoutProof | byManager) {
				return false
			}
			by := service(p)
			if by == nil && (m.Event.Container == nil || entered(m, p)) {
				return false // A person of the host's, or a script of theirs.
			}
			who := parentOf(p)
			if len(commands) > 1 && commands[len(commands)-1].Nested || who.IsZero() {
				who = p.UUID
			}
			s := places.of(m)
			var a *asker
			for i := range s.list {
				if s.list[i].uuid == who || s.list[i].uuid == p.UUID {
					a = &s.list[i]
				}
			}
			if a == nil || m.Event.Time-a.since > exploreTime {
				if a == nil {
					a = &s.list[s.next]
					s.next = (s.next + 1) % maxExplorers
				}
				*a = asker{uuid: who, since: m.Event.Time}
			}
			before := ones(a.asked)
			a.asked |= asked
			strong := by != nil && asked&serviceQuestions != 0
			if !strong && (ones(a.asked) < explores || before >= explores) {
				return false
			}
			how := fmt.Sprintf("asked %d different questions about the system within a minute", ones(a.asked))
			if strong {
				how = "was made by the network service " + detect.Name(by) + " to ask about the system, which it has no need for"
			}
			m.Object = "explores"
			m.Context = finding.Context{CommandLineExample: "whoami; id; uname -a; cat /etc/passwd", ScriptPath: p.ScriptPath}
			m.Description = fmt.Sprintf("The %s %s. %s", m.Who(p), how, discoveryAdvice)
			return true
		},
	}
}

const discoveryAdvice = "That is what somebody does first who has just come in. Look at how the process was started (its lineage), and watch for what it does next."

func ones(b uint64) (n int) {
	for ; b != 0; b &= b - 1 {
		n++
	}
	return n
}

// question is an ordinary question about a system.
type questionAsked struct {
	bit  uint
	asks func(c *command.Command) bool
}

func always(*command.Command) bool { return true }

func alone(c *command.Command) bool { return len(c.Args) == 0 }

var questions = map[string]questionAsked{
	"whoami": {0, always}, "id": {1, func(c *command.Command) bool { return len(c.Args) < 2 && !c.Flag('u') && !c.Flag('g') }}, "groups": {1, always},
	"uname": {2, func(c *command.Command) bool { return c.Flag('a', "all") }}, "hostname": {3, alone}, "hostnamectl": {3, alone},
	"ps":       {4, func(c *command.Command) bool { return c.Has("aux", "-ef", "auxw", "auxww", "-e", "-A", "-aux", "axf") }},
	"ifconfig": {5, func(c *command.Command) bool { return len(c.Args) < 2 }},
	"ip": {5, func(c *command.Command) bool {
		o := c.Operand(0)
		return (strings.HasPrefix("address", o) || strings.HasPrefix("route", o) || strings.HasPrefix("neighbour", o)) && o != "" && c.Operand(2) == ""
	}},
	"netstat": {6, always}, "ss": {6, always}, "route": {7, func(c *command.Command) bool { return c.Operand(0) == "" }}, "arp": {7, always},
	"w": {8, always}, "who": {8, always}, "last": {8, always}, "lastlog": {8, always}, "users": {8, always},
	"lscpu": {9, alone}, "lsmod": {9, always}, "lsblk": {9, alone}, "dmidecode": {9, always}, "lspci": {9, alone},
	"env": {10, alone}, "printenv": {10, alone}, "mount": {11, alone}, "df": {11, always}, "crontab": {12, func(c *command.Command) bool { return c.Flag('l') }},
	"cat":  {13, asksFile},
	"head": {13, asksFile}, "less": {13, asksFile}, "more": {13, asksFile}, "tail": {13, asksFile}, "grep": {13, asksFile},
	"getent": {14, func(c *command.Command) bool { return c.Has("passwd", "group", "shadow") }},
	"ls": {15, func(c *command.Command) bool {
		return c.Has("/root", "/root/", "/home", "/home/", "/root/.ssh", "/etc/cron.d", "/var/spool/cron")
	}},
	"lsof": {16, always}, "systemctl": {17, func(c *command.Command) bool { return c.Has("list-units", "list-unit-files") }},
	"history": {18, always}, "capsh": {19, func(c *command.Command) bool { return c.Has("--print") }}, "systemd-detect-virt": {20, always},
}

// serviceQuestions are those that a network service has no need to ask: whoami, id, the accounts and the network's neighbours.
const serviceQuestions = 1<<0 | 1<<1 | 1<<13 | 1<<14

func asksFile(c *command.Command) bool {
	for _, a := range c.Args {
		switch a {
		case "/etc/passwd", "/etc/group", "/etc/issue", "/etc/crontab", "/proc/version", "/etc/fstab", "/etc/sudoers", "/proc/self/status", "/proc/1/cgroup", "/proc/self/cgroup", "/proc/net/tcp", "/proc/net/arp", "/proc/mounts":
			return true
		}
	}
	return false
}

var discoveryCommands = []suspicion{
	{
		id: "privileges", names: []string{"find"}, example: "find / -perm -4000", quiet: byBuild | inSetup,
		what: "looks for programs that give more rights (set-user-id)",
		match: func(l *line, c *command.Command) bool {
			return c.Has("-perm") && (c.Contains("4000") || c.Contains("u=s") || c.Contains("6000") || c.Contains("2000") || c.Contains("u+s")) && !c.Has("-exec") && c.Operand(0) == "/"
		},
	},
	{
		id: "privileges", names: []string{"getcap"}, example: "getcap -r /", quiet: byBuild | inSetup,
		what: "looks for programs that give more rights (capabilities)", match: func(l *line, c *command.Command) bool { return c.Flag('r') },
	},
	{
		id: "sudo", names: []string{"sudo"}, example: "sudo -l", quiet: withoutProof,
		what: "asks what it may do as root", match: func(l *line, c *command.Command) bool { return len(c.Args) == 1 && c.Has("-l", "-ll", "--list") },
	},
	{
		id: "passwords", names: []string{"cat", "head", "tail", "less", "more", "grep", "strings", "cp", "base64", "awk", "cut"}, example: "cat /etc/shadow", quiet: withoutProof | byManager,
		what: "reads passwords or private keys",
		match: func(l *line, c *command.Command) bool {
			for _, a := range c.Args {
				if a == "/etc/shadow" || a == "/etc/gshadow" || strings.HasSuffix(a, "/.ssh/id_rsa") || strings.HasSuffix(a, "/.ssh/id_ed25519") || strings.HasSuffix(a, "/.aws/credentials") || strings.HasSuffix(a, "_history") {
					l.shown = a
					return true
				}
			}
			return false
		},
	},
	{
		id: "keys", names: []string{"find", "locate", "grep"}, example: "find / -name id_rsa", quiet: withoutProof | byManager,
		what: "looks for keys and passwords",
		match: func(l *line, c *command.Command) bool {
			switch c.Name {
			case "grep":
				return c.Flag('r', "recursive") && (c.Has("/", "/home", "/root", "/etc", "/var/www", "/opt")) && has(c, "password", "passwd", "AWS_SECRET", "AKIA", "PRIVATE KEY", "secret")
			case "find":
				if at := c.Operand(0); at != "/" && at != "/home" && at != "/root" {
					return false
				}
			}
			return has(c, "id_rsa", "id_ed25519", "id_dsa", ".pem", "credentials", ".kdbx", "authorized_keys", ".git-credentials", "wallet.dat", ".aws")
		},
	},
	{
		id: "cluster credentials", names: []string{"cat", "head", "tail", "cp", "base64", "grep"}, example: "cat /var/run/secrets/kubernetes.io/serviceaccount/token", quiet: withoutProof,
		what: "reads the credentials of the cluster",
		match: func(l *line, c *command.Command) bool {
			return c.Contains("/secrets/kubernetes.io/serviceaccount/token") || c.Contains("/serviceaccount/token")
		},
	},
	{
		id: "process environment", names: []string{"cat", "strings", "tr", "xargs", "grep"}, example: "cat /proc/1/environ", quiet: withoutProof,
		what:  "reads the secrets in the environment of another process",
		match: func(l *line, c *command.Command) bool { return c.Contains("/proc/") && c.Contains("/environ") },
	},
	{
		id: "machine credentials", names: []string{"curl", "wget", "python", "python3", "perl", "nc", "ncat", "http"}, example: "curl http://169.254.169.254/latest/meta-data/iam/security-credentials/", quiet: withoutProof,
		what: "asks the metadata service for the credentials of the machine or the task",
		match: func(l *line, c *command.Command) bool {
			if !has(c, "169.254.169.254", "169.254.170.2", "fd00:ec2::254", "0xa9fea9fe", "2852039166", "metadata.google.internal", "AWS_CONTAINER_CREDENTIALS") {
				return false
			}
			return !has(c, "/placement/", "/instance-id", "/local-ipv4", "/v4/", "/stats", "/task", "/tags/", "/hostname", "/api/token")
		},
	},
	{
		id: "cloud account", names: []string{"aws"}, example: "aws sts get-caller-identity", quiet: withoutProof,
		what: "asks what the cloud account holds and allows",
		match: func(l *line, c *command.Command) bool {
			service, verb, last := "", "", ""
			for i, a := range c.Args { // Options with values may stand before the service.
				switch a {
				case "sts", "iam", "organizations", "secretsmanager", "ssm", "lambda", "rds", "ec2", "ecs", "eks", "kms", "s3api", "guardduty", "s3":
					if service == "" && i+1 < len(c.Args) {
						service, verb = a, c.Args[i+1]
						last = c.Args[len(c.Args)-1]
					}
				}
			}
			switch service {
			case "sts":
				return verb == "get-caller-identity"
			case "iam", "organizations", "secretsmanager", "ssm", "lambda", "rds", "ec2", "ecs", "eks", "kms", "s3api", "guardduty":
				return strings.HasPrefix(verb, "list-") || strings.HasPrefix(verb, "get-account") || service == "iam" && strings.HasPrefix(verb, "get-") || verb == "describe-instances" || verb == "describe-security-groups" || verb == "describe-db-instances"
			case "s3":
				return verb == "ls" && last == "ls"
			}
			return false
		},
	},
	{
		id: "cluster", names: []string{"kubectl", "oc"}, example: "kubectl auth can-i --list", quiet: withoutProof,
		what: "asks what the cluster holds and allows",
		match: func(l *line, c *command.Command) bool {
			return c.Has("can-i", "whoami") || c.Has("get") && (c.Has("secrets", "secret", "sa", "serviceaccounts", "nodes", "clusterrolebindings", "rolebindings") || c.Has("-A", "--all-namespaces")) || c.Has("cluster-info", "api-resources")
		},
	},
	{
		id: "cluster", names: []string{"curl", "wget"}, example: "curl https://kubernetes.default.svc/api", quiet: withoutProof,
		what: "asks what the cluster holds and allows",
		match: func(l *line, c *command.Command) bool {
			return has(c, "kubernetes.default", "KUBERNETES_SERVICE_HOST", ":10250/", ":2379/v")
		},
	},
	{
		id: "containers", names: []string{"ls", "cat", "stat", "find", "test"}, example: "ls -la /var/run/docker.sock", quiet: withoutProof | byManager,
		what:  "looks for the control socket of the container engine",
		match: func(l *line, c *command.Command) bool { return has(c, "docker.sock", "containerd.sock", "crio.sock") },
	},
}
