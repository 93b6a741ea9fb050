// Package e2e tests the real binary as its users run it: in subprocesses, with the real aws client, a real SMTP server, real
// containers and real attacks. The tests need root, a Docker engine, the aws client and OpenSMTPD; `make test` installs what
// is missing. Without root they are skipped, unless VEDETTE_REQUIRE_PRIVILEGED=1 asks them to fail instead.
package e2e
