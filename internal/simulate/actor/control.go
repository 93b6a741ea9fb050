package actor

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An attack comes from the application, as one by a stranger does who found a hole in it. A command that an operator runs in
// the container (`docker exec`) is a child of no process in it, and its arguments would already be the attack's; so the
// operator's command is only "ask", with the attack's command line in hexadecimal, and the application runs that.
//
// controlSocket is where the application listens for it.
const controlSocket = "/run/vedette-sim.control"

// asked is what Ask encodes.
type asked struct {
	Argv []string `json:"argv"`
}

// told is how the application answers.
type told struct {
	Output []byte `json:"output"`
	Code   int    `json:"code"` // 128 + n when signal n ended it
	Error  string `json:"error,omitempty"`
}

// Bounds of a command that the application runs.
const (
	maxAsked  = 64 << 10
	maxOutput = 1 << 20
	// lingering is how long the output of a command's children is read after its own end.
	lingering = 100 * time.Millisecond
)

// Ask returns the arguments of an actor that has the application run a command and ends as that does.
func Ask(argv []string) []string {
	text, err := json.Marshal(asked{argv})
	if err != nil {
		panic(err) // Strings can be marshalled.
	}
	return []string{Argument, "ask", hex.EncodeToString(text)}
}

// askApplication has the application run a command, prints its output and ends with its exit code.
func askApplication(args []string) error {
	if len(args) != 1 {
		return errors.New("ask takes a command line in hexadecimal")
	}
	text, err := hex.DecodeString(args[0])
	if err != nil {
		return err
	}
	c, err := net.Dial("unix", controlSocket)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(append(text, '\n')); err != nil {
		return err
	}
	var answer told
	if err := json.NewDecoder(io.LimitReader(c, 2*maxOutput)).Decode(&answer); err != nil {
		return fmt.Errorf("asking the application: %w", err)
	}
	os.Stdout.Write(answer.Output)
	if answer.Error != "" {
		return errors.New(answer.Error)
	}
	os.Exit(answer.Code)
	return nil
}

// serveControl runs the commands that ask sends.
func serveControl(path string) (io.Closer, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				json.NewEncoder(c).Encode(obey(c))
			}()
		}
	}()
	return l, nil
}

// obey reads one command line, runs it and returns what came of it. It kills the command when the asker goes away.
func obey(c net.Conn) told {
	line, err := bufio.NewReaderSize(io.LimitReader(c, maxAsked), maxAsked).ReadSlice('\n')
	var a asked
	if err == nil {
		a, err = parseAsked(line)
	}
	if err != nil {
		return told{Error: err.Error()}
	}
	gone := make(chan struct{})
	go func() {
		io.Copy(io.Discard, c) // The asker says no more; this returns when it is gone.
		close(gone)
	}()
	answer, err := children.run(a.Argv, gone)
	if err != nil {
		answer.Error = err.Error()
	}
	return answer
}

func parseAsked(line []byte) (asked, error) {
	var a asked
	if err := json.Unmarshal(line, &a); err != nil {
		return a, err
	}
	if len(a.Argv) == 0 || a.Argv[0] == "" {
		return a, errors.New("no command")
	}
	return a, nil
}

// family waits for the processes that the application started, and buries those that it inherits as a first process.
type family struct {
	once    sync.Once
	mu      sync.Mutex // held while a process is started, so that its end is not reported before it is waited for
	waiting map[int]chan unix.WaitStatus
}

var children family

// bury starts to wait for children. It is done once, by whoever comes first.
func (f *family) bury() {
	f.once.Do(func() {
		f.waiting = map[int]chan unix.WaitStatus{}
		died := make(chan os.Signal, 1)
		signal.Notify(died, unix.SIGCHLD)
		go func() {
			for range died {
				f.reap()
			}
		}()
	})
}

// reap tells those who wait. Only a first process waits for children that it does not know.
func (f *family) reap() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for pid, wait := range f.waiting {
		var status unix.WaitStatus
		if got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil); got == pid && err == nil {
			delete(f.waiting, pid)
			wait <- status
		}
	}
	for os.Getpid() == 1 {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if pid <= 0 || err != nil && err != unix.EINTR {
			return
		}
		if wait, ok := f.waiting[pid]; ok { // It has ended since.
			delete(f.waiting, pid)
			wait <- status
		}
	}
}

// run starts a command as the application's child and waits for its end, or kills it when gone is closed.
func (f *family) run(argv []string, gone <-chan struct{}) (told, error) {
	f.bury()
	program, err := exec.LookPath(argv[0])
	if err != nil {
		return told{Code: 127}, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return told{}, err
	}
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		in.Close()
		return told{}, err
	}
	ended := make(chan unix.WaitStatus, 1)
	f.mu.Lock()
	at := now()
	pid, err := syscall.ForkExec(program, argv, &syscall.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: []uintptr{null.Fd(), in.Fd(), in.Fd()}, Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err == nil {
		f.waiting[pid] = ended
	}
	f.mu.Unlock()
	null.Close()
	in.Close()
	if err != nil {
		return told{Code: 126}, &os.PathError{Op: "exec", Path: program, Err: err}
	}
	var output []byte
	if !isActor(argv) { // An actor reports its own calls, which are what the attack is about.
		output = Call{At: at, Name: "execve", Object: program, PID: pid}.line()
	}
	read := make(chan []byte, 1)
	go func() {
		text, _ := io.ReadAll(io.LimitReader(out, maxOutput))
		read <- text
	}()
	var status unix.WaitStatus
	select {
	case status = <-ended:
	case <-gone:
		unix.Kill(-pid, unix.SIGKILL)
		status = <-ended
	}
	out.SetReadDeadline(time.Now().Add(lingering))
	answer := told{Output: append(output, <-read...), Code: status.ExitStatus()}
	if status.Signaled() {
		answer.Code = 128 + int(status.Signal())
	}
	return answer, nil
}

// isActor says whether a command line is an actor's.
func isActor(argv []string) bool { return len(argv) > 1 && argv[1] == Argument }
