// Package errorreply gives the edge's own errors the shape that clients parse (contract, section 5). A gateway's answer
// always has an x-request-id: whatever has one passes as it is.
package errorreply

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// Config is what edge/routes.yml says.
type Config struct {
	// Except are names whose answers are no API's: the dashboard's.
	Except []string `json:"except,omitempty"`
}

// CreateConfig is called by Traefik.
func CreateConfig() *Config {
	return &Config{}
}

type errorReply struct {
	next   http.Handler
	except map[string]bool
}

// New is called by Traefik, once for each router.
func New(_ context.Context, next http.Handler, config *Config, name string) (http.Handler, error) {
	if next == nil {
		return nil, errors.New(name + ": there is nothing behind it")
	}
	except := map[string]bool{}
	for _, one := range config.Except {
		except[strings.ToLower(one)] = true
	}
	return &errorReply{next: next, except: except}, nil
}

// ServeHTTP leaves WebSockets alone: their connection is taken over, and their clients read no body.
func (e *errorReply) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	if len(req.Header["Upgrade"]) > 0 {
		e.next.ServeHTTP(rw, req)
		return
	}
	e.next.ServeHTTP(&answer{rw: rw, req: req, except: e.except}, req)
}

func nameOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(host)
}

// An answer on its way to the client.
type answer struct {
	rw      http.ResponseWriter
	req     *http.Request
	except  map[string]bool
	hasHead bool
	// The edge's own: what Traefik wrote is dropped.
	isReplaced bool
	// Of unknown length: each piece leaves as soon as it is here, for Traefik finds nothing to flush by in an interpreted
	// writer.
	isStream bool
}

func (a *answer) Header() http.Header {
	return a.rw.Header()
}

func (a *answer) WriteHeader(status int) {
	if a.hasHead || status < 200 {
		a.rw.WriteHeader(status)
		return
	}
	a.hasHead = true
	header := a.rw.Header()
	if status >= 400 && len(header["X-Request-Id"]) == 0 && !a.except[nameOf(a.req.Host)] {
		if known, isOwn := failures[status]; isOwn {
			a.isReplaced = true
			a.refuse(known)
			return
		}
	}
	a.rw.WriteHeader(status)
	if len(header["Content-Length"]) == 0 {
		a.isStream = true
		a.flush()
	}
}

func (a *answer) Write(bytes []byte) (int, error) {
	if !a.hasHead {
		a.WriteHeader(http.StatusOK)
	}
	if a.isReplaced {
		return len(bytes), nil
	}
	if !a.isStream {
		return a.rw.Write(bytes)
	}
	count, err := a.rw.Write(bytes)
	a.flush()
	return count, err
}

func (a *answer) flush() {
	if flusher, ok := a.rw.(http.Flusher); ok {
		flusher.Flush()
	}
}

type failure struct {
	status int
	code   string
	// In OpenAI's words and in Anthropic's.
	kind          string
	anthropicKind string
	text          string
	// How long to wait before the same request makes sense; 0: it never will.
	waitMs int
}

// What Traefik answers by itself. 418 is what stands behind the route of unknown names.
var failures = map[int]failure{
	418: {404, "not_found", "invalid_request_error", "not_found_error", "This host name is not served here.", 0},
	429: {429, "rate_limit_exceeded", "rate_limit_error", "rate_limit_error", "This address has too many requests under way. Wait until some have ended.", 1000},
	500: {500, "internal_error", "api_error", "api_error", "The request failed. Try again.", 1000},
	502: {502, "gateway_unavailable", "api_error", "api_error", "The gateway gave no answer. Try again in a few seconds.", 2000},
	503: {503, "gateway_unavailable", "api_error", "api_error", "The gateway is starting or stopping. Try again in a few seconds.", 2000},
	504: {504, "gateway_unavailable", "api_error", "timeout_error", "The gateway gave no answer in time. Try again in a few seconds.", 2000},
}

func (a *answer) refuse(known failure) {
	id := requestID(a.req.Header.Get("X-Request-Id"))
	body := `{"error":{"message":"` + known.text + `","type":"` + known.kind + `","param":null,"code":"` + known.code + `"}}`
	header := a.rw.Header()
	if isMessages(a.req) {
		body = `{"type":"error","error":{"type":"` + known.anthropicKind + `","message":"` + known.text + `"},"request_id":"` + id + `"}`
		header.Set("Request-Id", id)
	}
	header.Set("Content-Type", "application/json; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("X-Request-Id", id)
	header.Set("X-Should-Retry", strconv.FormatBool(known.waitMs > 0))
	if known.waitMs > 0 {
		header.Set("Retry-After", strconv.Itoa(known.waitMs/1000))
		header.Set("Retry-After-Ms", strconv.Itoa(known.waitMs))
	}
	a.rw.WriteHeader(known.status)
	if a.req.Method != http.MethodHead {
		a.rw.Write([]byte(body))
	}
}

// Whether the client speaks Anthropic's API, however it writes the address.
func isMessages(req *http.Request) bool {
	path := req.URL.Path + "/"
	return strings.Contains(path, "/messages/") || len(req.Header["Anthropic-Version"]) > 0
}

const safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-"

// The client's own id, where it is safe to repeat, as the gateway does.
func requestID(own string) string {
	if own != "" && len(own) <= 128 && strings.Trim(own, safe) == "" {
		return own
	}
	bytes := make([]byte, 12)
	rand.Read(bytes)
	return "req_" + hex.EncodeToString(bytes)
}
