#: where host container
#: needs go
# A CI runner builds a Go program, tests it and runs it.
set -e
cd "$WORK"
export GOCACHE="$WORK/cache" GOPATH="$WORK/gopath" GOTMPDIR="$WORK/tmp" GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local CGO_ENABLED=0
mkdir -p src tmp && cd src
cat > go.mod <<'M'
module example.com/hello

go 1.22
M
cat > main.go <<'G'
package main

func double(x int) int { return 2 * x }

func main() { println("hello", double(21)) }
G
go build -o hello .
./hello
go run .
