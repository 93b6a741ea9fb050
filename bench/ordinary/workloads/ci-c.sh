#: where host container
#: needs gcc make
#: short
# A CI runner compiles a program and a library, and runs what it compiled.
set -e
cd "$WORK"
mkdir src && cd src
cat > greet.c <<'C'
#include <stdio.h>
void greet(const char *who) { printf("hello %s\n", who); }
C
cat > main.c <<'C'
void greet(const char *);
int main(int argc, char **argv) { greet(argc > 1 ? argv[1] : "world"); return 0; }
C
printf 'all: hello\nlibgreet.so: greet.c\n\tgcc -O1 -shared -fPIC -o $@ $<\nhello: main.c libgreet.so\n\tgcc -O1 -o $@ main.c -L. -lgreet\ntest: hello\n\tLD_LIBRARY_PATH=. ./hello ci | grep -q "hello ci"\n' > Makefile
make -j2 all
make test
