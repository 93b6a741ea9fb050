// Package command finds out what a command line runs, whichever way it is written.
//
// What goes in: the program and the arguments of an exec. What comes out: the simple commands that it stands for, with
// wrappers (sudo, env, timeout, busybox …) taken off, shells' -c texts taken apart (quotes, $IFS, variables, braces, command
// substitution, pipes, redirections, eval), text that is decoded on the way into a shell (base64, hex, rev, printf) decoded,
// and the commands that interpreters' inline code hands to a shell.
//
// It evaluates nothing that it cannot know from the text alone and runs nothing. It is a reading for detection, not a shell:
// where the text is beyond it, it says less, never more. All work is bounded by the size of the text, by [MaxCommands] and
// by a depth of nesting. A [Parser] belongs to one goroutine; a command line without a shell's text costs no allocation.
package command
