package ebpf

// The objects and bpf_*_bpfel.go are committed, so that building needs no C compiler. Regenerating needs clang 19, llvm-strip 19
// and libbpf's headers, and gives the same bytes.
//
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -no-global-types -go-package ebpf -tags linux -target amd64,arm64 -cc clang-19 -strip llvm-strip-19 -type fork_record -type exec_record -type exit_record -type open_record -type socket_record -type dns_record -type ptrace_record -type file_record -type memory_record -type mount_record -type creds_record -type call_record -type region -type header -type process -type endpoints -type stdio -type switches -type kind -type loss -type path_form -type exec_flag -type stdio_kind bpf bpf/sensor.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3
