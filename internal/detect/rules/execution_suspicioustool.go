package rules

import (
	"fmt"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/command"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/intel"
)

// The categories of tools that GuardDuty names.
const (
	pentest  = "Pentest Tool"
	backdoor = "Backdoor Tool"
	scanner  = "Network Scanner"
	sniffer  = "Network Sniffer"
)

// tool is one tool; a dual-use one has honest uses too and makes a finding of low severity.
type tool struct {
	category string
	dual     bool
	// given narrows names that other programs have too: the command line must contain one of these.
	given []string
}

// tools are known by the names of their programs, scripts and Python modules.
var tools = map[string]tool{
	"nmap": {scanner, true, nil}, "zenmap": {scanner, true, nil}, "masscan": {scanner, false, nil}, "zmap": {scanner, false, nil}, "zgrab": {scanner, false, nil}, "zgrab2": {scanner, false, nil},
	"rustscan": {scanner, false, nil}, "naabu": {scanner, false, nil}, "pnscan": {scanner, false, nil}, "unicornscan": {scanner, false, nil}, "fscan": {scanner, false, nil}, "hping3": {scanner, true, nil}, "hping": {scanner, true, nil},
	"arp-scan": {scanner, true, nil}, "netdiscover": {scanner, false, nil}, "nbtscan": {scanner, false, nil}, "onesixtyone": {scanner, false, nil}, "enum4linux": {scanner, false, nil}, "fping": {scanner, true, []string{"-g"}},
	"gobuster": {scanner, false, nil}, "ffuf": {scanner, false, nil}, "feroxbuster": {scanner, false, nil}, "dirb": {scanner, false, nil}, "dirbuster": {scanner, false, nil}, "dirsearch": {scanner, false, nil}, "wfuzz": {scanner, false, nil},
	"nikto": {scanner, false, nil}, "nuclei": {scanner, false, nil}, "wpscan": {scanner, false, nil}, "whatweb": {scanner, false, nil}, "subfinder": {scanner, false, nil}, "amass": {scanner, false, nil}, "dnsrecon": {scanner, false, nil},
	"dnsenum": {scanner, false, nil}, "fierce": {scanner, false, []string{"--domain", "-dns"}}, "sslscan": {scanner, true, nil}, "kube-hunter": {scanner, false, nil}, "kubeletctl": {pentest, false, nil}, "zmap4": {scanner, false, nil},

	"tcpdump": {sniffer, true, nil}, "tshark": {sniffer, true, nil}, "dumpcap": {sniffer, true, nil}, "wireshark": {sniffer, true, nil}, "ngrep": {sniffer, true, nil}, "ettercap": {sniffer, false, nil},
	"bettercap": {sniffer, false, nil}, "dsniff": {sniffer, false, nil}, "arpspoof": {sniffer, false, nil}, "tcpflow": {sniffer, true, nil}, "mitmproxy": {sniffer, true, nil}, "mitmdump": {sniffer, true, nil}, "responder": {sniffer, false, nil},
	"ssldump": {sniffer, true, nil}, "snort": {sniffer, true, nil},

	"msfconsole": {pentest, false, nil}, "msfvenom": {pentest, false, nil}, "msfdb": {pentest, false, nil}, "msfd": {pentest, false, nil}, "sqlmap": {pentest, false, nil}, "hydra": {pentest, false, []string{"-l", "-L", "-P", "-p", "://"}},
	"medusa": {pentest, false, []string{"-h", "-H", "-M"}}, "ncrack": {pentest, false, nil}, "patator": {pentest, false, nil}, "crowbar": {pentest, false, []string{"-b", "--brute"}}, "john": {pentest, false, []string{"--", "shadow", "hash"}}, "hashcat": {pentest, false, nil},
	"hashcat64.bin": {pentest, false, nil}, "unshadow": {pentest, false, nil}, "linpeas": {pentest, false, nil}, "linpeas_linux_amd64": {pentest, false, nil}, "linenum": {pentest, false, nil}, "LinEnum": {pentest, false, nil}, "lse": {pentest, false, nil},
	"linux-exploit-suggester": {pentest, false, nil}, "les": {pentest, false, []string{"--kernel", "-k", "--full"}}, "pspy": {pentest, false, nil}, "pspy64": {pentest, false, nil}, "pspy32": {pentest, false, nil}, "deepce": {pentest, false, nil}, "cdk": {pentest, false, []string{"evaluate", "run", "auto-escape", "kcurl"}},
	"cdk_linux_amd64": {pentest, false, nil}, "amicontained": {pentest, false, nil}, "botb": {pentest, false, nil}, "peirates": {pentest, false, nil}, "kubesploit": {pentest, false, nil}, "mimipenguin": {pentest, false, nil}, "lazagne": {pentest, false, nil}, "laZagne": {pentest, false, nil},
	"pacu": {pentest, false, nil}, "secretsdump": {pentest, false, nil}, "psexec": {pentest, false, nil}, "wmiexec": {pentest, false, nil}, "smbexec": {pentest, false, nil}, "impacket": {pentest, false, nil}, "impacket-secretsdump": {pentest, false, nil},
	"crackmapexec": {pentest, false, nil}, "cme": {pentest, false, []string{"smb", "ssh", "winrm", "ldap"}}, "netexec": {pentest, false, nil}, "nxc": {pentest, false, nil}, "evil-winrm": {pentest, false, nil}, "bloodhound-python": {pentest, false, nil}, "kerbrute": {pentest, false, nil},
	"beef-xss": {pentest, false, nil}, "commix": {pentest, false, nil}, "xsser": {pentest, false, nil}, "routersploit": {pentest, false, nil}, "searchsploit": {pentest, false, nil}, "aircrack-ng": {pentest, false, nil}, "slowloris": {pentest, false, nil},
	"traitor": {pentest, false, nil}, "traitor-amd64": {pentest, false, nil}, "dirtycow": {pentest, false, nil}, "dirtypipe": {pentest, false, nil}, "pwnkit": {pentest, false, nil}, "PwnKit": {pentest, false, nil}, "stratus": {pentest, false, []string{"detonate", "warmup"}}, "trufflehog": {pentest, true, nil},

	"chisel": {backdoor, false, []string{"client", "server"}}, "ligolo-agent": {backdoor, false, nil}, "ligolo-proxy": {backdoor, false, nil}, "frpc": {backdoor, true, nil}, "frps": {backdoor, true, nil}, "ngrok": {backdoor, true, nil}, "gost": {backdoor, true, nil}, "iox": {backdoor, false, []string{"fwd", "proxy"}},
	"earthworm": {backdoor, false, nil}, "ew_for_linux64": {backdoor, false, nil}, "reGeorg": {backdoor, false, nil}, "rathole": {backdoor, true, nil}, "pwncat": {backdoor, false, nil}, "pwncat-cs": {backdoor, false, nil}, "weevely": {backdoor, false, nil}, "meterpreter": {backdoor, false, nil},
	"sliver-client": {backdoor, false, nil}, "sliver-server": {backdoor, false, nil}, "merlinAgent": {backdoor, false, nil}, "gs-netcat": {backdoor, false, nil}, "gsocket": {backdoor, false, nil}, "gs-bd": {backdoor, false, nil}, "tsh": {backdoor, false, []string{"cb"}}, "tshd": {backdoor, false, nil}, "cryptcat": {backdoor, false, nil},
	"dnscat": {backdoor, false, nil}, "dnscat2": {backdoor, false, nil}, "iodine": {backdoor, true, nil}, "iodined": {backdoor, true, nil}, "ptunnel": {backdoor, false, nil}, "icmpsh": {backdoor, false, nil}, "proxychains": {backdoor, true, nil}, "proxychains4": {backdoor, true, nil},
	"sshuttle": {backdoor, true, nil}, "poseidon": {backdoor, false, []string{"-c2", "callback"}}, "revsocks": {backdoor, false, nil}, "diamorphine": {backdoor, false, nil}, "reptile": {backdoor, false, nil}, "bindshell": {backdoor, false, nil}, "tmate": {backdoor, true, nil}, "teleproxy": {backdoor, false, nil},

	"nc": {backdoor, false, []string{"-e", "-c", "-lvp", "-lvnp", "-nlvp", "-lnvp", "-klvp"}}, "ncat": {backdoor, false, []string{"-e", "-c", "--exec", "--sh-exec"}}, "netcat": {backdoor, false, []string{"-e", "-c", "-lvp", "-lvnp", "-nlvp", "-lnvp"}}, "nc.traditional": {backdoor, false, []string{"-e", "-c", "-lvp", "-lvnp"}},
	"socat": {backdoor, false, []string{"EXEC:", "exec:", "SYSTEM:", "system:"}},
}

// maxToolHashes bounds how many versions of tools are remembered by their content.
const maxToolHashes = 256

// suspiciousTool is Execution:Runtime/SuspiciousTool: a tool for attacking, scanning, listening or keeping access is run. Tools
// are known by name, also behind wrappers and interpreters, by the content that had such a name before, and by the lists of
// tools. What a person runs on the host itself and has honest uses (nmap, tcpdump) stays quiet, and so does what only prints a
// version or help.
func suspiciousTool() detect.Rule {
	names := make([]string, 0, len(tools))
	for name := range tools {
		names = append(names, name)
	}
	learned := make(map[string]string) // SHA-256 → name
	var wanted = `{"kind":["exec"],"errno":[0],"$or":[{"command":{"name":` + jsonNames(names) + `}},{"intel":{"category":["` + intel.Tool + `"]}},
		{"process":{"executable":{"origin":["written"]}}},
		{"process":{"args":["-sS","-sT","-sV","-sU","-sn","-Pn","--min-rate","--rate"]}}]}`
	return detect.Rule{
		Type:    "Execution:Runtime/SuspiciousTool",
		Pattern: wanted,
		Detect: func(m *detect.Match) bool {
			p := m.Process
			if startedByPackageManager(p) || starting(p) {
				return false
			}
			commands := m.Facts.Commands()
			for i := range commands {
				c := &commands[i]
				t, ok := tools[c.Name]
				if !ok || c.Nested || c.Has("--version", "-V", "--help") && len(c.Args) == 1 || t.given != nil && !has(c, t.given...) {
					continue
				}
				if i == 0 && c.Interpreter == "" && len(p.SHA256) == 64 && t.given == nil {
					if len(learned) >= maxToolHashes {
						clear(learned)
					}
					learned[strings.Clone(p.SHA256)] = strings.Clone(c.Name)
				}
				return foundTool(m, c.Name, t, "")
			}
			if m.Listed(intel.Tool) {
				return foundTool(m, command.Base(p.ExePath), tool{pentest, false, nil}, " According to "+m.ListNames()+" this content is such a tool.")
			}
			if c := &commands[0]; !command.Shell(c.Name) && !readers[c.Name] && scans(c) {
				return foundTool(m, command.Base(p.ExePath), tool{scanner, false, nil}, " Its name is not that of a scanner, but its arguments are.")
			}
			if name, ok := learned[p.SHA256]; ok && p.SHA256 != "" {
				return foundTool(m, name, tools[name], " It has another name here, but the same content.")
			}
			return false
		},
	}
}

// scans reports whether arguments are those of a port scanner, whatever its name: its own kinds of scan together with ports or a
// network.
func scans(c *command.Command) bool {
	kind, ports, network := 0, false, false
	for i, a := range c.Args {
		switch a {
		case "-sS", "-sT", "-sV", "-sU", "-sn", "-sA", "-sF", "-sX", "-sC", "-Pn", "-PS", "--open", "--min-rate", "--rate", "--script", "-iL", "-T4", "-T5":
			kind++
		case "-p", "--ports":
			ports = i+1 < len(c.Args) && strings.Trim(c.Args[i+1], "0123456789,-TU:") == "" && strings.ContainsAny(c.Args[i+1], ",-")
		case "-p-", "-p1-65535", "-p0-65535":
			ports = true
		default:
			if address, bits, ok := strings.Cut(a, "/"); ok && strings.Trim(address, "0123456789.") == "" && strings.Trim(bits, "0123456789") == "" && bits != "" && address != "" {
				network = true
			}
		}
	}
	return kind > 1 && (ports || network) || kind > 0 && ports && network
}

func foundTool(m *detect.Match, name string, t tool, how string) bool {
	p := m.Process
	if t.dual {
		if l := (line{m: m}); m.Event.Container == nil && (operator(m, p) || l.excused(byManager)) || ancestor(p, buildTools) != nil {
			return false
		}
		m.Severity = finding.SeverityLow
	}
	m.Object = name
	m.Context = finding.Context{ToolName: name, ToolCategory: t.category, ScriptPath: p.ScriptPath}
	use := "It is made for attacks and has few honest uses on a server."
	if t.dual {
		use = "It has honest uses too, but seldom in a running container."
	}
	m.Description = fmt.Sprintf("The %s runs '%s' (%s).%s %s If nobody of yours did it, somebody is already inside: look at how the process was started (its lineage), "+
		"at what it was aimed at, and isolate the container.", m.Who(p), event.PrintableN(name, 100), strings.ToLower(t.category), how, use)
	return true
}
