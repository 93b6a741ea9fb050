package actor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"
)

// intruder does what a script says after having got in, so that the script's deeds are not the first suspicious thing that
// its process does: intruder HOW SCRIPT.
func intruder(args []string) error {
	if len(args) != 2 {
		return errors.New("intruder takes dropped or shell, and a script")
	}
	switch args[0] {
	case "dropped": // The shell is a program that was written just now.
		path := fmt.Sprintf("/tmp/.cache-%d", os.Getpid())
		if err := copyFile("/bin/sh", path); err != nil {
			return err
		}
		defer os.Remove(path)
		return child([]string{path, "-c", "set -e; " + args[1]}, 0, "execve", path)
	case "shell": // The script comes over a reverse shell.
		return overShell(args[1])
	}
	return fmt.Errorf("no way %q to get in", args[0])
}

// overShell opens a reverse shell and sends a script, which must end well.
func overShell(script string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	victim := exec.Command(self, Argument, "shell", l.Addr().String(), "/bin/sh")
	victim.Stdout, victim.Stderr = os.Stdout, os.Stderr
	if err := victim.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- victim.Wait() }()
	l.(*net.TCPListener).SetDeadline(time.Now().Add(5 * time.Second))
	c, err := l.Accept()
	if err == nil {
		defer c.Close()
		c.SetDeadline(time.Now().Add(8 * time.Second))
		_, err = io.WriteString(c, "set -e\n"+script+"\nexit\n")
	}
	if err != nil {
		victim.Process.Kill()
		<-ended
		return err
	}
	output, _ := io.ReadAll(io.LimitReader(c, 1<<16))
	select {
	case err = <-ended:
	case <-time.After(8 * time.Second):
		victim.Process.Kill()
		err = <-ended
	}
	if err != nil {
		return fmt.Errorf("the intruder's script: %w: %s", err, output)
	}
	return nil
}
