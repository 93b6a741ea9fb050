package actor

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func TestRefusesOutsideOfAContainer(t *testing.T) {
	if _, err := os.Stat(marker); err == nil {
		t.Skip("this machine is itself such a container")
	}
	if err := run([]string{"connect", "tcp", "127.0.0.1:1"}); err == nil || !strings.Contains(err.Error(), "only in a container") {
		t.Errorf("error %v", err)
	}
}

func TestTinyProgramRuns(t *testing.T) {
	program, err := tinyProgram()
	if err != nil {
		t.Skip(err)
	}
	if f, err := elf.NewFile(bytes.NewReader(program)); err != nil || f.Type != elf.ET_EXEC {
		t.Errorf("not an ELF executable: %v, %v", f, err)
	}
	path := filepath.Join(t.TempDir(), "tiny")
	if err := write(path, program); err != nil {
		t.Fatal(err)
	}
	err = exec.Command(path).Run()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != DropExit {
		t.Errorf("the program ended with %v", err)
	}
}

func TestParseCalls(t *testing.T) {
	got := ParseCalls([]byte("noise\n@call {\"at\":5,\"call\":\"connect\",\"object\":\"a\",\"pid\":1}\n@call {broken\n @call {\"at\":6}\n@call {\"at\":7,\"call\":\"execve\"}"))
	if len(got) != 2 || got[0].At != 5 || got[0].Name != "connect" || got[1].At != 7 {
		t.Errorf("calls %+v", got)
	}
}

func FuzzParseCalls(f *testing.F) {
	f.Add([]byte("@call {\"at\":1,\"call\":\"x\"}\n"))
	f.Add([]byte("@call \n@call {}\n" + strings.Repeat("x", 1<<17)))
	f.Fuzz(func(t *testing.T, output []byte) {
		for _, c := range ParseCalls(output) {
			if c.At <= 0 {
				t.Errorf("call %+v has no time", c)
			}
		}
	})
}

func FuzzAnswerDNS(f *testing.F) {
	question, err := (&dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("example.com."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}).Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(question)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, question []byte) {
		answer, err := answerDNS(question)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(answer); err != nil || !m.Response || len(m.Questions) != 1 {
			t.Errorf("answer %v, %v", m, err)
		}
	})
}

func TestAnswerDNS(t *testing.T) {
	for kind, answers := range map[dnsmessage.Type]int{dnsmessage.TypeA: 1, dnsmessage.TypeAAAA: 0} {
		question, err := (&dnsmessage.Message{
			Header:    dnsmessage.Header{ID: 7},
			Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("a.example."), Type: kind, Class: dnsmessage.ClassINET}},
		}).Pack()
		if err != nil {
			t.Fatal(err)
		}
		answer, err := answerDNS(question)
		if err != nil {
			t.Fatal(err)
		}
		var m dnsmessage.Message
		if err := m.Unpack(answer); err != nil || m.ID != 7 || len(m.Answers) != answers {
			t.Errorf("%v: answer %v, %v", kind, m, err)
		}
	}
}
