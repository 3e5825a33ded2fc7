// Package requesttime gives whole requests more time than their heads. Go's server knows a time for each; Traefik has an
// option for the whole alone, so that with it a head may take as long as the largest upload.
package requesttime

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Config is what edge/routes.yml says.
type Config struct {
	// Seconds for a whole request, from the first byte of its head to the last of its body.
	Seconds int `json:"seconds,omitempty"`
}

// CreateConfig is called by Traefik.
func CreateConfig() *Config {
	return &Config{}
}

type requestTime struct {
	next  http.Handler
	whole time.Duration
}

// New is called by Traefik, once for each router.
func New(_ context.Context, next http.Handler, config *Config, name string) (http.Handler, error) {
	if config.Seconds <= 0 {
		return nil, fmt.Errorf("%s: seconds must be positive, not %d", name, config.Seconds)
	}
	if next == nil {
		return nil, errors.New(name + ": there is nothing behind it")
	}
	return &requestTime{next: next, whole: time.Duration(config.Seconds) * time.Second}, nil
}

// ServeHTTP turns Traefik's readTimeout into the time for heads at the first request that its server answers; that one
// alone, and what came beside it, still has the short time for its body.
func (r *requestTime) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	server, ok := req.Context().Value(http.ServerContextKey).(*http.Server)
	if ok && server.ReadHeaderTimeout == 0 && server.ReadTimeout > 0 {
		server.ReadHeaderTimeout = server.ReadTimeout
		server.ReadTimeout = r.whole
	}
	r.next.ServeHTTP(rw, req)
}
