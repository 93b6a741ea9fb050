#: where host container
#: needs java javac
# A Java program is compiled and runs hot, so that its code is compiled again while it runs.
set -e
cd "$WORK"
cat > Hot.java <<'J'
public class Hot {
    static long f(long x) { long s = 0; for (long i = 0; i < x; i++) s += i ^ (s << 1); return s; }
    public static void main(String[] a) { long t = 0; for (int i = 0; i < 3000; i++) t += f(20000); System.out.println(t); }
}
J
javac Hot.java
java -Xmx128m Hot
