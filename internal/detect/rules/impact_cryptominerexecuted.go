package rules

import (
	"fmt"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/command"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/intel"
)

// miners are programs that mine, by name.
var miners = []string{
	"xmrig", "xmrig-notls", "xmrig-cuda", "xmrigMiner", "xmrigDaemon", "xmrig-proxy", "xmr-stak", "xmr-stak-cpu", "xmr-stak-rx", "xmrcc", "xmrigCC", "minerd", "cpuminer", "cpuminer-multi", "cpuminer-opt",
	"cpuminer-sse2", "cpuminer-avx2", "ccminer", "cgminer", "bfgminer", "sgminer", "ethminer", "etherminer", "nsfminer", "nbminer", "t-rex", "lolMiner", "lolminer", "gminer", "miniZ", "teamredminer", "PhoenixMiner",
	"phoenixminer", "nanominer", "SRBMiner-MULTI", "srbminer", "SRBMiner", "wildrig", "wildrig-multi", "bminer", "rigel", "bzminer", "onezerominer", "hellminer", "verusminer", "astrominer", "dero-miner", "nheqminer",
	"ethdcrminer64", "claymore", "minergate", "minergate-cli", "kdevtmpfsi", "kinsing", "sysrv", "sysrv012", "kswapd00", "xmr", "moneroocean", "trtl", "randomx-miner", "rhminer", "qminer", "p2pool", "kryptex", "nicehashminer",
	"excavator", "multiminer", "poolminer", "zecminer64", "ewbf-miner", "dstm", "cryptonight", "monerominer", "wolf-m7m", "yam", "hodlminer", "pooler-cpuminer", "aleo-miner", "qli-Client", "spectre-miner", "tnn-miner",
}

// readers take a miner's words as arguments without being one.
var readers = map[string]bool{
	"grep": true, "egrep": true, "fgrep": true, "rg": true, "ag": true, "cat": true, "less": true, "more": true, "vi": true, "vim": true, "nano": true, "emacs": true, "sed": true, "awk": true, "gawk": true, "mawk": true,
	"echo": true, "printf": true, "git": true, "curl": true, "wget": true, "pkill": true, "killall": true, "kill": true, "pgrep": true, "ps": true, "find": true, "ls": true, "tar": true, "rm": true, "cp": true, "mv": true,
	"jq": true, "tee": true, "ssh": true, "docker": true, "kubectl": true, "test": true, "[": true, "diff": true, "strings": true, "yara": true, "clamscan": true, "vedette": true, "file": true, "stat": true, "chmod": true, "sha256sum": true,
}

// algorithms are what miners are told to compute.
var algorithms = []string{
	"randomx", "rx/", "cn/", "cn-", "cryptonight", "kawpow", "ethash", "etchash", "autolykos", "argon2/chukwa", "ghostrider", "verushash", "equihash", "kheavyhash", "progpow", "octopus", "yespower", "scrypt", "x16r", "lyra2", "astrobwt", "panthera", "sha256d",
}

// cryptoMinerExecuted is Impact:Runtime/CryptoMinerExecuted: a program that mines cryptocurrency is executed. It is known by its
// name, by how miners are told where to work and for whom (a stratum address; a pool together with a wallet; an algorithm
// together with a pool), whatever its name is, and by the lists of miners.
func cryptoMinerExecuted() detect.Rule {
	known := make(map[string]bool, len(miners))
	for _, name := range miners {
		known[name] = true
	}
	return detect.Rule{
		Type: "Impact:Runtime/CryptoMinerExecuted",
		Pattern: `{"kind":["exec"],"errno":[0],"$or":[
			{"command":{"name":` + jsonNames(miners) + `}},
			{"command":{"name":[{"prefix":"xmrig"},{"prefix":"xmr-stak"},{"prefix":"cpuminer"},{"prefix":"minerd"},{"prefix":"ccminer"},{"prefix":"SRBMiner"},{"prefix":"lolMiner"},{"prefix":"kdevtmpfs"}]}},
			{"intel":{"category":["` + intel.Miner + `"]}},
			{"process":{"args":[{"wildcard":"*stratum*://*"},{"prefix":"--donate-level"},{"prefix":"--randomx"},{"prefix":"--coin"},{"prefix":"--algo"},{"prefix":"--cpu-max-threads"},
				"-a","--nicehash","--rig-id","--pool","--wallet","--pools","--ethstratum","-wal","-epool","-u","--user","--url","--cinit-kill","--cuda-bfactor"]}}]}`,
		Detect: func(m *detect.Match) bool {
			p := m.Process
			if startedByPackageManager(p) || starting(p) {
				return false
			}
			how := ""
			commands := m.Facts.Commands()
			for i := range commands {
				c := &commands[i]
				switch {
				case c.Nested || readers[c.Name] || command.Shell(c.Name) && c.Interpreter == "":
				case known[c.Name] || known[versioned(c.Name)] || strings.HasPrefix(c.Name, "kdevtmpfs") && c.Name != "kdevtmpfs":
					if c.Has("--version", "--help", "-V", "-h") && len(c.Args) == 1 {
						continue
					}
					how = "is known as one by its name"
				case mines(c):
					how = "is told to work for a mining pool"
				}
			}
			if m.Listed(intel.Miner) {
				how = "has the content of one, according to " + m.ListNames()
			}
			if how == "" {
				return false
			}
			m.Object = p.ExePath
			m.Context.ScriptPath = p.ScriptPath
			m.Description = fmt.Sprintf("The %s runs a program that mines cryptocurrency: '%s' %s. Somebody earns money with your machine, and got in to do so. Look at how "+
				"the process was started (its lineage) and who wrote the program, stop it, and close the way in: others use it for worse.",
				m.Who(p), event.PrintableN(p.ExePath, 200), how)
			return true
		},
	}
}

// mines reports whether a program's arguments are those of a miner.
func mines(c *command.Command) bool {
	var stratum, pool, wallet, algorithm bool
	telling := 0 // options that only miners have
	for i, a := range c.Args {
		before, value := "", a
		if i > 0 {
			before = c.Args[i-1]
		}
		if strings.HasPrefix(a, "-") {
			if name, v, ok := strings.Cut(a, "="); ok {
				before, value = name, v
			}
		}
		if len(value) > 512 {
			continue
		}
		switch {
		case strings.Contains(value, "stratum+") && strings.Contains(value, "://"), strings.HasPrefix(value, "stratum://"), strings.HasPrefix(value, "stratum1+"), strings.HasPrefix(value, "stratum2+"), strings.HasPrefix(value, "daemon+http"):
			stratum = true
		case strings.HasPrefix(a, "--donate-level"), strings.HasPrefix(a, "--randomx-"), strings.HasPrefix(a, "--cpu-max-threads-hint"), a == "--nicehash", strings.HasPrefix(a, "--rig-id"), strings.HasPrefix(a, "--cuda-bfactor"), a == "-epool", a == "-wal":
			telling++
		}
		switch before {
		case "-o", "--url", "--pool", "-P", "--server", "-s", "-epool", "--pools", "-p":
			if strings.LastIndexByte(value, ':') > 0 && strings.Contains(value, ".") || poolName(value) {
				pool = true
			}
		case "-a", "--algo", "--algorithm", "--coin":
			for _, name := range algorithms {
				if strings.HasPrefix(strings.ToLower(value), name) {
					algorithm = true
				}
			}
			if before == "--coin" {
				algorithm = true
			}
		}
		if walletAddress(value) {
			wallet = true
		}
	}
	return stratum || telling > 1 || telling > 0 && (pool || wallet || algorithm) || pool && (wallet || algorithm) || wallet && algorithm
}

func poolName(host string) bool {
	for _, s := range [...]string{"pool.", "minexmr", "nanopool", "supportxmr", "moneroocean", "hashvault", "f2pool", "2miners", "nicehash", "ethermine", "unmineable", "herominers", "c3pool", "xmrpool"} {
		if strings.Contains(host, s) {
			return true
		}
	}
	return false
}

// walletAddress reports whether a text is, or begins with, an address of the kinds that miners work for: Monero (95 base58
// characters from 4 or 8), Bitcoin and Ethereum.
func walletAddress(s string) bool {
	s, _, _ = strings.Cut(s, ".") // A worker's name behind it.
	s, _, _ = strings.Cut(s, "+")
	s, _, _ = strings.Cut(s, "/")
	if i := strings.IndexByte(s, ':'); i > 0 && i < 10 { // XMR:4…
		s = s[i+1:]
	}
	base58 := strings.Trim(s, "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz") == ""
	switch {
	case (len(s) == 95 || len(s) == 106) && (s[0] == '4' || s[0] == '8') && base58:
		return true
	case len(s) == 42 && strings.HasPrefix(s, "0x") && strings.Trim(s[2:], "0123456789abcdefABCDEF") == "":
		return true
	case len(s) == 42 && strings.HasPrefix(s, "bc1") && strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyz") == "":
		return true
	}
	return false
}
