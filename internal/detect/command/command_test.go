package command

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// show writes commands one a line: name [args] <input >redirect.
func show(cs []Command) string {
	var b strings.Builder
	for _, c := range cs {
		fmt.Fprintf(&b, "%s %q", c.Name, c.Args)
		if c.Input >= 0 {
			fmt.Fprintf(&b, " from %d", c.Input)
		}
		for _, r := range c.Redirects {
			fmt.Fprintf(&b, " %s%s", r.Op, r.Path)
		}
		if len(c.Env) > 0 {
			fmt.Fprintf(&b, " env %q", c.Env)
		}
		if c.Interpreter != "" {
			b.WriteString(" by " + c.Interpreter)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"plain", []string{"curl", "-s", "x"}, "curl [\"-s\" \"x\"]\n"},
		{"busybox", []string{"/bin/busybox", "wget", "x"}, "wget [\"x\"]\n"},
		{"sudo", []string{"sudo", "-u", "bob", "LANG=C", "id", "-u"}, "sudo [\"-u\" \"bob\" \"LANG=C\" \"id\" \"-u\"]\nid [\"-u\"] env [\"LANG=C\"]\n"},
		{"timeout", []string{"timeout", "-k", "5", "10", "id"}, "timeout [\"-k\" \"5\" \"10\" \"id\"]\nid []\n"},
		{"loader", []string{"/lib64/ld-linux-x86-64.so.2", "--library-path", "/x", "/bin/id"}, "ld-linux-x86-64.so.2 [\"--library-path\" \"/x\" \"/bin/id\"]\nid []\n"},
		{"shell", []string{"sh", "-c", "curl -s http://x | sh"}, "sh [\"-c\" \"curl -s http://x | sh\"]\ncurl [\"-s\" \"http://x\"]\nsh [] from 1\n"},
		{"quotes", []string{"bash", "-c", `c"ur"'l' \-s "a b"`}, "bash [\"-c\" \"c\\\"ur\\\"'l' \\\\-s \\\"a b\\\"\"]\ncurl [\"-s\" \"a b\"]\n"},
		{"IFS", []string{"sh", "-c", `cat$IFS/etc/passwd;id${IFS}-u`}, "sh [\"-c\" \"cat$IFS/etc/passwd;id${IFS}-u\"]\ncat [\"/etc/passwd\"]\nid [\"-u\"]\n"},
		{"braces", []string{"sh", "-c", `{curl,-s,x}`}, "sh [\"-c\" \"{curl,-s,x}\"]\ncurl [\"-s\" \"x\"]\n"},
		{"variables", []string{"sh", "-c", `a=cu; b=rl; $a$b x`}, "sh [\"-c\" \"a=cu; b=rl; $a$b x\"]\ncurl [\"x\"]\n"},
		{"empty parameters", []string{"sh", "-c", `cu$@rl x`}, "sh [\"-c\" \"cu$@rl x\"]\ncurl [\"x\"]\n"},
		{"base64", []string{"sh", "-c", `echo aWQgLXUK | base64 -d | bash`}, "sh [\"-c\" \"echo aWQgLXUK | base64 -d | bash\"]\necho [\"aWQgLXUK\"]\nbase64 [\"-d\"] from 1\nbash [] from 2\nid [\"-u\"]\n"},
		{"substitution", []string{"sh", "-c", `$(echo aWQgLXU= | base64 -d)`}, "sh [\"-c\" \"$(echo aWQgLXU= | base64 -d)\"]\necho [\"aWQgLXU=\"]\nbase64 [\"-d\"] from 1\nid [\"-u\"] from 2\n"},
		{"here string", []string{"sh", "-c", `bash <<< "id -u"`}, "sh [\"-c\" \"bash <<< \\\"id -u\\\"\"]\nbash [] <<<id -u\nid [\"-u\"]\n"},
		{"printf", []string{"sh", "-c", `printf '\151\x64' | sh`}, "sh [\"-c\" \"printf '\\\\151\\\\x64' | sh\"]\nprintf [\"\\\\151\\\\x64\"]\nsh [] from 1\nid []\n"},
		{"redirect", []string{"sh", "-c", `echo x >> /etc/crontab 2>&1 && > /var/log/x`}, "sh [\"-c\" \"echo x >> /etc/crontab 2>&1 && > /var/log/x\"]\necho [\"x\"] >>/etc/crontab\n [] >/var/log/x\n"},
		{"eval", []string{"sh", "-c", `eval "id -u"`}, "sh [\"-c\" \"eval \\\"id -u\\\"\"]\neval [\"id -u\"]\nid [\"-u\"]\n"},
		{"process substitution", []string{"bash", "-c", `bash <(curl -s x)`}, "bash [\"-c\" \"bash <(curl -s x)\"]\ncurl [\"-s\" \"x\"]\nbash [] from 1\n"},
		{"python", []string{"python3", "-c", `import os; os.system("curl x | sh")`}, "python3 [\"-c\" \"import os; os.system(\\\"curl x | sh\\\")\"]\ncurl [\"x\"]\nsh [] from 1\n"},
		{"python list", []string{"python3.11", "-c", `import subprocess; subprocess.run(["iptables","-F"])`}, "python3.11 [\"-c\" \"import subprocess; subprocess.run([\\\"iptables\\\",\\\"-F\\\"])\"]\niptables [\"-F\"]\n"},
		{"script", []string{"python3", "/opt/sqlmap.py", "-u", "x"}, "python3 [\"/opt/sqlmap.py\" \"-u\" \"x\"]\nsqlmap [\"-u\" \"x\"] by python3\n"},
		{"su", []string{"su", "root", "-c", "id -u"}, "su [\"root\" \"-c\" \"id -u\"]\nid [\"-u\"]\n"},
		{"environment", []string{"sh", "-c", "LD_PRELOAD=/tmp/x.so ls"}, "sh [\"-c\" \"LD_PRELOAD=/tmp/x.so ls\"]\nls [] env [\"LD_PRELOAD=/tmp/x.so\"]\n"},
		{"find", []string{"find", "/", "-exec", "rm", "-f", "{}", ";"}, "find [\"/\" \"-exec\" \"rm\" \"-f\" \"{}\" \";\"]\nrm [\"-f\" \"{}\"]\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Parser
			if diff := cmp.Diff(c.want, show(p.Parse(c.args[0], c.args, ""))); diff != "" {
				t.Errorf("commands (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBounds(t *testing.T) {
	var p Parser
	if n := len(p.Parse("/bin/sh", []string{"sh", "-c", strings.Repeat("id;", 5000)}, "")); n != MaxCommands {
		t.Errorf("%d commands", n)
	}
	doubling := "a=xxxxxxxxxxxxxxxx;" + strings.Repeat("a=$a$a;", 60) + "id $a"
	p.Parse("/bin/sh", []string{"sh", "-c", doubling}, "")
	p.Parse("/bin/sh", []string{"sh", "-c", strings.Repeat("$(", 2000)}, "")
	args := []string{"curl", "-s", "https://api.example"}
	p.Parse("/usr/bin/curl", args, "")
	if n := testing.AllocsPerRun(100, func() { p.Parse("/usr/bin/curl", args, "") }); n > 0 {
		t.Errorf("%v allocations for a plain command", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "id", "a=$(b", "echo aWQK|base64 -d|sh", "cat <<E\nx\nE\n", "${a", "'", "\"$(", "$'\\x", "{a,b}", "`", "a <(b) >& c", "\\", "&>", "(a;b)|c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var p Parser
		for _, argv := range [][]string{{"sh", "-c", text}, {"python3", "-c", "system(" + text + ")"}, {"env", text, text}} {
			cs := p.Parse(argv[0], argv, "")
			if len(cs) == 0 || len(cs) > MaxCommands {
				t.Fatalf("%d commands", len(cs))
			}
			for i, c := range cs {
				if c.Input >= i {
					t.Errorf("command %d reads from %d", i, c.Input)
				}
			}
		}
	})
}
