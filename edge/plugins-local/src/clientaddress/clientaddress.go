// Package clientaddress puts the client's address in the place of a trusted proxy's, so that everything behind counts,
// lists and logs the client: limits by address, the dashboard's allow-list, and the gateway.
package clientaddress

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Config is what edge/routes.yml says.
type Config struct {
	// Trusted are the addresses and ranges of proxies (EDGE_TRUSTED_PROXIES).
	Trusted []string `json:"trusted,omitempty"`
}

// CreateConfig is called by Traefik.
func CreateConfig() *Config {
	return &Config{}
}

type clientAddress struct {
	next    http.Handler
	trusted []netip.Prefix
}

// New is called by Traefik, once for each router.
func New(_ context.Context, next http.Handler, config *Config, name string) (http.Handler, error) {
	if next == nil {
		return nil, errors.New(name + ": there is nothing behind it")
	}
	trusted := []netip.Prefix{}
	for _, text := range config.Trusted {
		prefix, err := readPrefix(text)
		if err != nil {
			return nil, errors.New(name + ": " + text + " is no address and no range")
		}
		trusted = append(trusted, prefix)
	}
	return &clientAddress{next: next, trusted: trusted}, nil
}

func readPrefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		return netip.ParsePrefix(text)
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(address, address.BitLen()), nil
}

func (c *clientAddress) isTrusted(address netip.Addr) bool {
	for _, prefix := range c.trusted {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// ServeHTTP goes back from hop to hop while the last one is trusted. What a client wrote itself stands further left and is
// never reached. The header goes: Traefik writes a new one with the address that was found.
func (c *clientAddress) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	current, ok := readAddress(req.RemoteAddr)
	if !ok || !c.isTrusted(current) {
		c.next.ServeHTTP(rw, req)
		return
	}
	hops := strings.Split(strings.Join(req.Header["X-Forwarded-For"], ","), ",")
	for at := len(hops) - 1; at >= 0 && c.isTrusted(current); at-- {
		hop, ok := readAddress(strings.TrimSpace(hops[at]))
		if !ok {
			break
		}
		current = hop
	}
	delete(req.Header, "X-Forwarded-For")
	req.Header.Set("X-Real-Ip", current.String())
	req.RemoteAddr = net.JoinHostPort(current.String(), "0")
	c.next.ServeHTTP(rw, req)
}

// Also with a port, and with brackets around an IPv6 address, as some load balancers write it.
func readAddress(text string) (netip.Addr, bool) {
	if with, err := netip.ParseAddrPort(text); err == nil {
		return with.Addr().Unmap().WithZone(""), true
	}
	address, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return address.Unmap().WithZone(""), err == nil
}
