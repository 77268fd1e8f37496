package llm

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cordon/host/config"
	"cordon/host/remote"
	"cordon/host/secret"
	"cordon/sandbox/egress"
)

const (
	maxTries   = 4
	firstWait  = 500 * time.Millisecond
	longestTry = time.Minute      // that a provider may ask to wait; what asks for more fails at once
	firstWord  = 10 * time.Minute // a local model may have to be loaded first
	nextWord   = 3 * time.Minute

	maxAnswer = 64 << 20 // bytes of HTTP
	maxErrors = 1 << 20
	maxEvent  = 512 << 10 // bytes of a line: the libraries take several hundred times as much memory to read it
	maxText   = 8 << 20   // bytes of an answer's parts together
	maxParts  = 1024
)

// Sent is a request on its way out.
type Sent struct {
	Model string // its name in the configuration
	URL   string
	Body  []byte // JSON
	Try   int    // from 1
}

// Options are what a model needs besides its definition. All are mandatory.
type Options struct {
	Version string // of Cordon
	// Key returns the model's key, empty if it has none.
	Key func(ctx context.Context) (secret.Value, error)
	// Local reports whether only models on this computer may be asked now. It is asked for every request, those of further tries too.
	Local func() bool
	// Record is told of every request before it leaves; its error keeps it here.
	Record func(Sent) error
}

// New returns a model.
func New(def config.Model, o Options) (Model, error) {
	at, err := url.Parse(def.URL)
	if err != nil {
		return nil, err
	}
	// Whoever entered the address wants it, in a private network too. Where it leads is judged when it is dialled.
	rule, err := egress.ParseRule(hostPort(at))
	if err != nil && !config.IsLocal(at) {
		return nil, err
	}
	var private []egress.Rule
	if err == nil {
		private = []egress.Rule{rule}
	}
	base, err := remote.NewClient(at, private)
	if err != nil {
		return nil, err
	}
	c := &client{def: def, o: o}
	base.Transport = &transport{base: base.Transport, at: at, def: def, o: o}
	switch def.Kind {
	case config.ModelAnthropic:
		c.once = newAnthropic(def, base)
	case config.ModelOpenAI:
		c.once = newOpenAI(def, base)
	default:
		return nil, fmt.Errorf("model %q: kind %q is not known", def.Name, def.Kind)
	}
	return c, nil
}

func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return u.Host + ":443"
}

// client makes further tries and watches the clock.
type client struct {
	def  config.Model
	o    Options
	once func(ctx context.Context, r Request, a *answer) error
}

// Ask implements Model.
func (c *client) Ask(ctx context.Context, r Request, on func(Delta)) (Answer, error) {
	for try := 1; ; try++ {
		a, err := c.try(context.WithValue(ctx, tryKey{}, attempt{try, r.May, r.Sent}), r, on)
		if err == nil {
			return a, nil
		}
		if ctx.Err() != nil {
			a.Stop = ""
			return a, ctx.Err()
		}
		e := c.clean(ctx, explain(err))
		a.Stop = ""
		wait := max(e.After, firstWait<<(try-1)*time.Duration(80+rand.IntN(40))/100)
		if len(a.Parts) > 0 || !e.again() || try == maxTries || wait > longestTry {
			return a, e
		}
		on(Delta{Retry: &Retry{Try: try + 1, After: wait, Why: e.Error()}})
		select {
		case <-ctx.Done():
			return a, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// clean makes what others worded fit to be shown: one line of it, without the key, which a provider may repeat.
func (c *client) clean(ctx context.Context, e *Error) *Error {
	out := *e
	hide := func(s string) string { return line(s) }
	if key, err := c.o.Key(ctx); err == nil && !key.IsEmpty() {
		hide = func(s string) string { return line(strings.ReplaceAll(s, key.Reveal(), "[key]")) }
	}
	out.Said = hide(e.Said)
	if e.err != nil {
		out.err = errors.New(hide(e.err.Error()))
	}
	return &out
}

// tryKey carries an attempt through the libraries to the transport.
type tryKey struct{}

// attempt is what the transport has to know of one.
type attempt struct {
	try  int
	may  func() error
	sent func(Sent) error
}

func (c *client) try(ctx context.Context, r Request, on func(Delta)) (Answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(firstWord, cancel)
	defer silence.Stop()
	a := &answer{on: func(d Delta) {
		silence.Reset(nextWord)
		on(d)
	}}
	err := c.once(ctx, r, a)
	return a.done(), err
}

// transport lets requests out to one place, without what tells more of this computer than it must, and with the key, which nothing but it holds.
type transport struct {
	base http.RoundTripper
	at   *url.URL
	def  config.Model
	o    Options
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != t.at.Scheme || r.URL.Host != t.at.Host || r.URL.User != nil {
		return nil, &Error{Fault: FaultReach, err: errors.New("a request to another place than the model's")}
	}
	a, ok := r.Context().Value(tryKey{}).(attempt)
	if !ok {
		return nil, &Error{Fault: FaultReach, err: errors.New("a request that nobody made")}
	}
	var forbidden error
	if a.may != nil {
		forbidden = a.may()
	}
	switch local := errors.Is(forbidden, ErrElsewhere); {
	case (local || t.o.Local()) && !config.IsLocal(t.at):
		return nil, &Error{Fault: FaultLocal}
	case forbidden != nil && !local:
		return nil, &Error{Fault: FaultRules, err: forbidden, final: true}
	}
	out := r.Clone(r.Context())
	for name := range out.Header {
		if strings.HasPrefix(name, "X-Stainless-") {
			out.Header.Del(name)
		}
	}
	for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key"} {
		out.Header.Del(name)
	}
	out.Header.Set("User-Agent", "cordon/"+t.o.Version)
	key, err := t.o.Key(r.Context())
	if err != nil {
		return nil, &Error{Fault: FaultKey, err: err}
	}
	if header := t.def.KeyIn(); !key.IsEmpty() {
		value := key.Reveal()
		if header == "Authorization" {
			value = "Bearer " + value
		}
		out.Header.Set(header, value)
	}
	var body []byte
	if r.Body != nil {
		body, err = io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil {
			return nil, err
		}
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	sent := Sent{Model: t.def.Name, URL: r.URL.String(), Body: body, Try: a.try}
	if err := t.o.Record(sent); err != nil {
		return nil, &Error{Fault: FaultRecord, err: err}
	}
	if a.sent != nil {
		if err := a.sent(sent); err != nil {
			return nil, &Error{Fault: FaultRecord, err: err}
		}
	}
	resp, err := t.base.RoundTrip(out)
	if err != nil {
		_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
		return nil, &Error{Fault: FaultReach, err: err, final: untrusted}
	}
	resp.Request = r // without the key
	most := int64(maxAnswer)
	if resp.StatusCode/100 != 2 {
		most = maxErrors
	}
	if resp.StatusCode/100 == 3 {
		_ = resp.Body.Close()
		return nil, &Error{Fault: FaultReach, Status: resp.StatusCode, err: errors.New("it redirects, which is not followed: enter the address it leads to if that is the right one")}
	}
	resp.Body = &bounded{ReadCloser: resp.Body, left: most, lines: most == maxAnswer}
	return resp, nil
}

// bounded fails when more is read than there may be.
type bounded struct {
	io.ReadCloser
	left  int64
	lines bool // each of them is bounded too
	line  int  // bytes of the last, as far as it was read
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLong
	}
	if i := bytes.LastIndexByte(p[:n], '\n'); i >= 0 {
		b.line = n - i - 1
	} else {
		b.line += n
	}
	if b.lines && b.line > maxEvent {
		return 0, errTooLong
	}
	return n, err
}
