package rules

import (
	"net/netip"
	"net/url"
	"strings"

	"vedette.dev/vedette/internal/detect/command"
	"vedette.dev/vedette/internal/finding"
)

// downloaders fetch files.
var downloaders = map[string]bool{"curl": true, "wget": true, "fetch": true, "aria2c": true, "lwp-download": true, "GET": true, "tftp": true, "ftpget": true, "axel": true, "lynx": true, "links": true, "busybox-wget": true}

// source returns the address that a downloader fetches from, or "".
func source(c *command.Command) string {
	for _, a := range c.Args {
		if strings.Contains(a, "://") && !strings.HasPrefix(a, "-") {
			return a
		}
	}
	// curl and wget take names without a scheme.
	for i, a := range c.Args {
		if strings.HasPrefix(a, "-") || !strings.Contains(a, "/") && !strings.Contains(a, ".") {
			continue
		}
		if i > 0 && strings.HasPrefix(c.Args[i-1], "-") && strings.ContainsAny(c.Args[i-1], "oOHAdebuxTX") && !strings.HasPrefix(c.Args[i-1], "-q") {
			continue
		}
		if !strings.HasPrefix(a, "/") && !strings.HasPrefix(a, ".") {
			return "http://" + a
		}
	}
	return ""
}

// sharing are hosts where anybody leaves files without a name, and tunnels to machines that have none.
var sharing = []string{
	"pastebin.com", "paste.ee", "hastebin.com", "ghostbin.co", "transfer.sh", "termbin.com", "ix.io", "0x0.st", "file.io", "anonfiles.com", "gofile.io", "bashupload.com",
	"oshi.at", "temp.sh", "catbox.moe", "controlc.com", "rentry.co", "dpaste.org", "sprunge.us", "ngrok.io", "ngrok-free.app", "ngrok.app", "trycloudflare.com", "serveo.net",
	"localhost.run", "loca.lt", "pagekite.me", "onion", "onion.ws", "onion.to", "tor2web.org", "discordapp.com", "discord.com", "duckdns.org", "no-ip.org", "hopto.org", "interact.sh", "oast.fun", "oast.pro",
}

// sourceSeverity judges where something is fetched from: High for a bare public address or a place where nobody has a name,
// Medium for what is not even encrypted, Low for the rest.
func sourceSeverity(address string) float64 {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return finding.SeverityMedium
	}
	host := strings.ToLower(u.Hostname())
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip = ip.Unmap(); ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
			return finding.SeverityMedium
		}
		return finding.SeverityHigh
	}
	if strings.Trim(host, "0123456789.x") == "" {
		return finding.SeverityHigh // An address in another notation: decimal, octal, hexadecimal.
	}
	for _, s := range sharing {
		if host == s || strings.HasSuffix(host, "."+s) {
			return finding.SeverityHigh
		}
	}
	if u.Scheme != "https" {
		return finding.SeverityMedium
	}
	return finding.SeverityLow
}

// target returns the file that a downloader writes, or "".
func target(c *command.Command) string {
	for _, r := range c.Redirects {
		if r.Op == ">" {
			return r.Path
		}
	}
	short := "-o"
	if c.Name == "wget" {
		short = "-O"
	}
	for i, a := range c.Args {
		switch {
		case (a == short || a == "--output" || a == "--output-document" || len(a) > 2 && a[0] == '-' && a[1] != '-' && a[len(a)-1] == short[1]) && i+1 < len(c.Args):
			if c.Args[i+1] == "-" {
				return ""
			}
			return c.Args[i+1]
		case strings.HasPrefix(a, short) && len(a) > 2 && a[2] != '-':
			return a[2:]
		case strings.HasPrefix(a, "--output="), strings.HasPrefix(a, "--output-document="):
			return a[strings.IndexByte(a, '=')+1:]
		}
	}
	if c.Name == "wget" || c.Flag('O', "remote-name") {
		s := source(c)
		if i := strings.LastIndexByte(s, '/'); i > len("https://") {
			return s[i+1:]
		}
	}
	return ""
}
