package command

import (
	"strings"
)

// MaxCommands bounds how many simple commands one command line stands for; what goes beyond is left out.
const MaxCommands = 128

const (
	maxDepth = 6
	maxText  = 32 << 10 // bytes of shell text, decoded text included
)

// Command is one simple command.
type Command struct {
	// Name is the program's file name: an applet's for busybox, a script's (without .sh, .py and the like) for an interpreter.
	Name string
	// Path is the program, or the script, as it was given.
	Path string
	// Args are the arguments after the name.
	Args []string
	// Env are the assignments in front of it, NAME=value.
	Env []string
	// Redirects are its redirections of files.
	Redirects []Redirect
	// Input is the index of the command whose output it reads through a pipe or a command substitution, or -1.
	Input int
	// Interpreter is the program that runs the script, "" where Name is a program itself.
	Interpreter string
	// Nested says that it comes from a text (of a shell or an interpreter), so that it need not have been run yet.
	Nested bool
}

// Redirect is one redirection: Op is <, >, >> or <<<.
type Redirect struct{ Op, Path string }

// Has reports whether one of the arguments is one of the words.
func (c *Command) Has(words ...string) bool {
	for _, a := range c.Args {
		for _, w := range words {
			if a == w {
				return true
			}
		}
	}
	return false
}

// Flag reports whether a short option (one letter, also among others as in -xzf) or one of the long ones is given.
func (c *Command) Flag(short byte, long ...string) bool {
	for _, a := range c.Args {
		if a == "--" {
			return false
		}
		if len(a) < 2 || a[0] != '-' {
			continue
		}
		if a[1] != '-' {
			if short != 0 && strings.IndexByte(a[1:], short) >= 0 {
				return true
			}
			continue
		}
		name, _, _ := strings.Cut(a[2:], "=")
		for _, l := range long {
			if name == l {
				return true
			}
		}
	}
	return false
}

// Operand returns the n-th argument that is no option, or "".
func (c *Command) Operand(n int) string {
	for i, a := range c.Args {
		if a == "--" {
			if i+1+n < len(c.Args) {
				return c.Args[i+1+n]
			}
			return ""
		}
		if len(a) > 1 && a[0] == '-' {
			continue
		}
		if n == 0 {
			return a
		}
		n--
	}
	return ""
}

// Contains reports whether one of the arguments contains the text.
func (c *Command) Contains(text string) bool {
	for _, a := range c.Args {
		if strings.Contains(a, text) {
			return true
		}
	}
	return false
}

// Parser takes command lines apart. Its zero value is ready. The result of Parse is valid until the next call.
type Parser struct {
	commands []Command
	vars     map[string]string
	left     int // bytes of text that may still be read
}

// Parse returns the commands that running exe with args stands for; the first is the program itself. Args holds the program's
// name first, as in execve(2). Script is the path of the script where exe was started as the interpreter of its first
// line, else "".
func (p *Parser) Parse(exe string, args []string, script string) []Command {
	clear(p.commands) // Let go of the batch before.
	p.commands = p.commands[:0]
	p.left = maxText
	if p.vars != nil {
		clear(p.vars)
	}
	path := exe
	if len(args) > 0 && MultiCall(Base(exe)) {
		path = args[0]
	}
	var rest []string
	if len(args) > 0 {
		rest = args[1:]
	}
	p.simple(Command{Name: Name(path), Path: path, Args: rest, Input: -1}, 0)
	if script != "" && len(p.commands) == 1 {
		p.add(Command{Name: scriptName(script), Path: script, Interpreter: p.commands[0].Name, Args: after(rest, script), Input: -1})
	}
	return p.commands
}

// after returns the arguments behind the script's name.
func after(args []string, script string) []string {
	for i, a := range args {
		if a == script || Base(a) == Base(script) {
			return args[i+1:]
		}
	}
	return nil
}

func (p *Parser) add(c Command) int {
	if len(p.commands) >= MaxCommands {
		return -1
	}
	p.commands = append(p.commands, c)
	return len(p.commands) - 1
}

// simple adds a command and what it runs in turn.
func (p *Parser) simple(c Command, depth int) {
	for range maxDepth {
		if MultiCall(c.Name) && len(c.Args) > 0 {
			c.Path, c.Args = c.Args[0], c.Args[1:]
			c.Name = Name(c.Path)
			continue
		}
		break
	}
	n := p.add(c)
	if n < 0 || depth > maxDepth {
		return
	}
	inner := func(argv []string) {
		for len(argv) > 0 && assignment(argv[0]) {
			c.Env = append(c.Env[:len(c.Env):len(c.Env)], argv[0])
			argv = argv[1:]
		}
		if len(argv) > 0 {
			p.simple(Command{Name: Name(argv[0]), Path: argv[0], Args: argv[1:], Env: c.Env, Redirects: c.Redirects, Input: c.Input, Nested: c.Nested}, depth+1)
		}
	}
	switch {
	case Shell(c.Name):
		text, script := shellText(c.Args)
		switch {
		case text != "":
			p.text(text, depth+1)
		case script != "":
			p.add(Command{Name: scriptName(script), Path: script, Args: after(c.Args, script), Interpreter: c.Name, Input: c.Input, Nested: c.Nested})
		}
	case c.Name == "eval":
		p.text(strings.Join(c.Args, " "), depth+1)
	case Interpreter(c.Name):
		code, script := interpreterCode(c.Name, c.Args)
		if code != "" {
			p.literals(code, depth+1)
		}
		if script != "" {
			p.add(Command{Name: scriptName(script), Path: script, Args: after(c.Args, script), Interpreter: c.Name, Input: c.Input, Nested: c.Nested})
		}
	case c.Name == "find":
		for i, a := range c.Args {
			if (a == "-exec" || a == "-execdir" || a == "-ok") && i+1 < len(c.Args) {
				end := i + 1
				for end < len(c.Args) && c.Args[end] != ";" && c.Args[end] != "+" {
					end++
				}
				inner(c.Args[i+1 : end])
			}
		}
	case loader(c.Name):
		inner(skip(c.Args, wrapper{values: []string{"--library-path", "--argv0", "--preload", "--audit"}}))
	default:
		w, ok := wrappers[c.Name]
		if !ok {
			return
		}
		if w.command {
			for i, a := range c.Args {
				if (a == "-c" || a == "--command") && i+1 < len(c.Args) {
					p.text(c.Args[i+1], depth+1)
					return
				}
				if text, ok := strings.CutPrefix(a, "--command="); ok {
					p.text(text, depth+1)
					return
				}
			}
			if w.only {
				return
			}
		}
		inner(skip(c.Args, w))
	}
}

// wrapper is a program that runs the command in its arguments.
type wrapper struct {
	values   []string // options whose value is the next argument
	operands int      // operands before the command
	command  bool     // -c TEXT is a shell's text
	only     bool     // and there is no other form
}

var wrappers = map[string]wrapper{
	"sudo":      {values: []string{"-u", "-g", "-h", "-p", "-C", "-D", "-R", "-T", "-U", "--user", "--group", "--host", "--prompt", "--chdir"}},
	"doas":      {values: []string{"-u", "-C"}},
	"env":       {values: []string{"-u", "-C", "-S", "--unset", "--chdir"}},
	"nohup":     {},
	"nice":      {values: []string{"-n", "--adjustment"}},
	"ionice":    {values: []string{"-c", "-n", "-p"}},
	"chrt":      {operands: 1},
	"taskset":   {operands: 1},
	"timeout":   {values: []string{"-s", "-k", "--signal", "--kill-after"}, operands: 1},
	"setsid":    {},
	"stdbuf":    {values: []string{"-i", "-o", "-e"}},
	"time":      {values: []string{"-f", "-o"}},
	"command":   {},
	"exec":      {values: []string{"-a"}},
	"builtin":   {},
	"xargs":     {values: []string{"-I", "-n", "-P", "-L", "-d", "-E", "-a", "-s"}},
	"unbuffer":  {},
	"chroot":    {operands: 1},
	"unshare":   {values: []string{"-S", "-G", "-R", "-w", "--root", "--wd"}},
	"nsenter":   {values: []string{"-t", "--target", "-S", "-G"}},
	"capsh":     {values: nil, command: true, only: true},
	"setpriv":   {values: []string{"--reuid", "--regid", "--groups", "--inh-caps"}},
	"gosu":      {operands: 1},
	"su-exec":   {operands: 1},
	"tini":      {},
	"dumb-init": {},
	"flock":     {values: []string{"-w", "-E"}, operands: 1, command: true},
	"script":    {command: true, only: true},
	"su":        {command: true, only: true},
	"runuser":   {values: []string{"-u", "-g"}, command: true},
	"watch":     {values: []string{"-n", "--interval"}},
	"strace":    {values: []string{"-e", "-o", "-p", "-s", "-u"}},
	"ltrace":    {values: []string{"-e", "-o", "-p", "-s", "-u"}},
	"proot":     {values: []string{"-r", "-b", "-w"}},
	"linux32":   {},
	"linux64":   {},
	"setarch":   {operands: 1},
	"!":         {},
	"then":      {},
	"do":        {},
	"else":      {},
	"if":        {},
	"while":     {},
	"until":     {},
}

// skip returns the arguments from the wrapped command on.
func skip(args []string, w wrapper) []string {
	operands := w.operands
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" && operands == 0 {
			return args[i+1:]
		}
		if len(a) > 1 && a[0] == '-' {
			for _, v := range w.values {
				if a == v {
					i++
					break
				}
			}
			continue
		}
		if operands == 0 {
			return args[i:]
		}
		operands--
	}
	return nil
}

func assignment(word string) bool {
	name, _, ok := strings.Cut(word, "=")
	return ok && identifier(name)
}

func identifier(s string) bool {
	if s == "" || '0' <= s[0] && s[0] <= '9' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// Base is the last element of a path.
func Base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// Name is a program's file name, without the dash of a login shell.
func Name(path string) string { return strings.TrimPrefix(Base(path), "-") }

// scriptName is a script's file name without its usual endings.
func scriptName(path string) string {
	name := Base(path)
	for _, end := range [...]string{".sh", ".py", ".pl", ".rb", ".bash", ".php", ".js", ".lua"} {
		if s, ok := strings.CutSuffix(name, end); ok && s != "" {
			return s
		}
	}
	return name
}

// MultiCall reports whether a program runs the applet that its first argument names.
func MultiCall(name string) bool {
	switch name {
	case "busybox", "toybox", "busybox-static", "busybox.static", "coreutils":
		return true
	}
	return false
}

// Shell reports whether a name is a command shell's.
func Shell(name string) bool {
	switch name {
	case "sh", "bash", "dash", "ash", "zsh", "ksh", "ksh93", "mksh", "lksh", "pdksh", "yash", "csh", "tcsh", "fish", "rbash", "hush", "bash-static":
		return true
	}
	return false
}

// Interpreter reports whether a name is that of an interpreter whose inline code is looked into.
func Interpreter(name string) bool {
	for _, i := range [...]string{"python", "pypy", "perl", "ruby", "php", "node", "nodejs", "lua", "luajit", "awk", "gawk", "mawk", "nawk"} {
		if rest, ok := strings.CutPrefix(name, i); ok && strings.Trim(rest, "0123456789.-") == "" {
			return true
		}
	}
	return false
}

// loader reports whether a program is the dynamic loader, which runs the program in its arguments.
func loader(name string) bool {
	return strings.HasPrefix(name, "ld-linux") || strings.HasPrefix(name, "ld-musl") || name == "ld.so" || name == "ld-2.31.so"
}

// shellText returns the text that a shell was given with -c, or the script that it runs.
func shellText(args []string) (text, script string) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--rcfile", a == "--init-file", a == "-o", a == "+o", a == "-O", a == "+O":
			i++
		case strings.HasPrefix(a, "--"):
		case len(a) > 1 && (a[0] == '-' || a[0] == '+'):
			if a[0] == '-' && strings.IndexByte(a, 'c') > 0 {
				for i++; i < len(args); i++ {
					if !strings.HasPrefix(args[i], "-") {
						return args[i], ""
					}
				}
				return "", ""
			}
			if a[0] == '-' && strings.IndexByte(a, 's') > 0 {
				return "", ""
			}
		case a == "-":
		default:
			return "", a
		}
	}
	return "", ""
}

// interpreterCode returns the code that an interpreter was given inline, or the script or module that it runs.
func interpreterCode(name string, args []string) (code, script string) {
	if strings.HasSuffix(name, "awk") {
		for i := 0; i < len(args); i++ {
			switch a := args[i]; {
			case a == "-f":
				return "", ""
			case a == "-v", a == "-F":
				i++
			case strings.HasPrefix(a, "-"):
			default:
				return a, ""
			}
		}
		return "", ""
	}
	inline := "e"
	switch {
	case strings.HasPrefix(name, "py"):
		inline = "c"
	case strings.HasPrefix(name, "perl"):
		inline = "eE"
	case strings.HasPrefix(name, "php"):
		inline = "r"
	case strings.HasPrefix(name, "node"):
		inline = "ep"
	}
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case strings.HasPrefix(a, "--"):
			if (a == "--eval" || a == "--print") && i+1 < len(args) {
				return args[i+1], ""
			}
		case len(a) > 1 && a[0] == '-':
			if strings.HasPrefix(name, "py") && a == "-m" && i+1 < len(args) {
				return "", args[i+1]
			}
			if at := strings.IndexAny(a[1:], inline); at >= 0 {
				if rest := a[at+2:]; len(rest) > 1 {
					return rest, ""
				}
				if i+1 < len(args) {
					return args[i+1], ""
				}
				return "", ""
			}
		case a == "-":
			return "", ""
		default:
			return "", a
		}
	}
	return "", ""
}

// calls are what inline code needs to contain before its strings are read as commands.
var calls = [...]string{"system", "popen", "exec", "spawn", "subprocess", "Popen", "check_output", "check_call", "`", "%x", "qx", "getoutput"}

// literals reads the strings in an interpreter's code that look like commands.
func (p *Parser) literals(code string, depth int) {
	if len(code) > p.left {
		return
	}
	found := false
	for _, c := range calls {
		if strings.Contains(code, c) {
			found = true
			break
		}
	}
	if !found {
		return
	}
	p.left -= len(code)
	var list []string // of neighbouring strings: ["curl","-s","x"]
	flush := func() {
		if len(list) > 1 {
			p.simple(Command{Name: Name(list[0]), Path: list[0], Args: list[1:], Input: -1, Nested: true}, depth)
		}
		list = nil
	}
	end := 0
	for i := 0; i < len(code); i++ {
		q := code[i]
		if q != '"' && q != '\'' && q != '`' {
			continue
		}
		j := i + 1
		for j < len(code) && code[j] != q {
			if code[j] == '\\' {
				j++
			}
			j++
		}
		if j >= len(code) {
			break
		}
		s := code[i+1 : j]
		if strings.Trim(code[end:i], " \t\n,") != "" {
			flush()
		}
		if strings.ContainsAny(s, " \t|;&") {
			p.text(strings.ReplaceAll(s, `\`+string(q), string(q)), depth)
		} else if s != "" {
			list = append(list, s)
		}
		i, end = j, j+1
	}
	flush()
}
