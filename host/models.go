package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/llm"
	"cordon/host/secret"
	"cordon/host/server"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ErrNoModel means that there is no model of that name.
var ErrNoModel = errors.New("there is no model of that name")

// maxSent is how long the record of what was sent to models grows, in bytes, before it is put aside for the next; one older is kept.
const maxSent = 64 << 20

// SetModel defines a model, or changes one.
func (h *Host) SetModel(def config.Model) error {
	err := h.edit(func(c *config.Config) error {
		at := func(p config.Model) func(config.Model) bool {
			return func(m config.Model) bool { return m.HasKey && m.Key() == p.Key() }
		}
		def.HasKey = slices.ContainsFunc(c.Models, at(def))
		old, changes := c.Model(def.Name)
		if i := slices.IndexFunc(c.Models, func(m config.Model) bool { return m.Name == def.Name }); i >= 0 {
			c.Models[i] = def
		} else {
			c.Models = append(c.Models, def)
		}
		if err := c.Validate(h.o.Paths); err != nil {
			return err // before the keyring is touched
		}
		if changes && old.HasKey && !slices.ContainsFunc(c.Models, at(old)) { // nobody would know of it any more
			if err := h.Secrets.Remove(context.Background(), old.Key()); !errors.Is(err, secret.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return h.modelChanged(audit.ModelSet, def)
}

// RemoveModel forgets a model, and the key of its service with the last model there.
func (h *Host) RemoveModel(ctx context.Context, name string) error {
	var def config.Model
	err := h.edit(func(c *config.Config) error {
		var ok bool
		if def, ok = c.Model(name); !ok {
			return fmt.Errorf("%w: %q", ErrNoModel, name)
		}
		c.Models = slices.DeleteFunc(c.Models, func(m config.Model) bool { return m.Name == name })
		if err := c.Validate(h.o.Paths); err != nil {
			return err // before the keyring is touched
		}
		if !def.HasKey || slices.ContainsFunc(c.Models, func(m config.Model) bool { return m.Key() == def.Key() }) {
			return nil
		}
		if err := h.Secrets.Remove(ctx, def.Key()); !errors.Is(err, secret.ErrNotFound) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	return h.modelChanged(audit.ModelRemove, def)
}

func (h *Host) modelChanged(kind audit.Kind, def config.Model) error {
	_, err := h.Append(audit.Event{Kind: kind, Reason: def.Name, Facts: map[string]string{"model": def.Name, "url": def.URL, "called": def.Model}})
	h.o.Changed()
	return err
}

// SetModelKey keeps the key of a model's service, for all models there.
func (h *Host) SetModelKey(ctx context.Context, name string, v secret.Value) error {
	if strings.ContainsFunc(v.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("a key is one word of letters, digits and signs; nothing was stored")
	}
	var def config.Model
	err := h.edit(func(c *config.Config) error {
		var ok bool
		if def, ok = c.Model(name); !ok {
			return fmt.Errorf("%w: %q", ErrNoModel, name)
		}
		for i := range c.Models {
			c.Models[i].HasKey = c.Models[i].HasKey || c.Models[i].Key() == def.Key()
		}
		return h.Secrets.Set(ctx, def.Key(), v)
	})
	if err != nil {
		return err
	}
	_, err = h.Append(audit.Event{Kind: audit.SecretSet, Facts: map[string]string{"secret": def.Key().Name, "fingerprint": h.Secrets.Fingerprint(v)}})
	h.o.Changed()
	return err
}

// SetLocalModels allows only models on this computer, or all that are defined.
func (h *Host) SetLocalModels(only bool) error {
	reason := "local only is off: all that are defined may be asked"
	if only {
		reason = "local only is on: none on another computer is asked"
	}
	err := h.edit(func(c *config.Config) error {
		c.LocalModels = only
		_, err := h.Append(audit.Event{Kind: audit.ModelSet, Reason: reason})
		return err
	})
	h.o.Changed()
	return err
}

// Model returns one to ask. What it is asked is recorded; own secrets are not taken out here.
func (h *Host) Model(name string) (llm.Model, error) {
	def, ok := h.Config().Model(name)
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrNoModel, name)
	}
	h.models.Lock()
	defer h.models.Unlock()
	if m, ok := h.models.made[def]; ok {
		return m, nil
	}
	m, err := llm.New(def, llm.Options{
		Version: h.o.Version,
		Key: func(ctx context.Context) (secret.Value, error) {
			if !def.HasKey {
				return secret.Value{}, nil
			}
			return h.Secrets.Get(ctx, def.Key())
		},
		Local:  func() bool { return h.Config().LocalModels },
		Record: h.recordSent,
	})
	if err != nil {
		return nil, err
	}
	if h.models.made == nil {
		h.models.made = map[config.Model]llm.Model{}
	}
	h.models.made[def] = m
	return m, nil
}

// models are those that were asked.
type models struct {
	sync.Mutex
	made map[config.Model]llm.Model // guarded by Mutex
}

// SentFile is the record of what was sent to models, a request a line: own secrets masked, keys never in it.
func SentFile(p config.Paths) string { return filepath.Join(p.State, "models.jsonl") }

// sentLine is one line of SentFile.
type sentLine struct {
	Time  time.Time `json:"time"`
	Event uint64    `json:"event"` // number of its audit record
	Model string    `json:"model"`
	URL   string    `json:"url"`
	Try   int       `json:"try"`
	Body  string    `json:"body"`
}

// maskJSON is Mask for JSON: for each string in it, and within strings that are JSON again, where an escape would hide a secret. What is no JSON is masked as
// it is.
func (h *Host) maskJSON(text []byte, depth int) string {
	var out bytes.Buffer
	from := jsontext.NewDecoder(bytes.NewReader(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	to := jsontext.NewEncoder(&out, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		t, err := from.ReadToken()
		if errors.Is(err, io.EOF) {
			return strings.TrimSuffix(out.String(), "\n")
		}
		if err == nil && t.Kind() == '"' {
			s := t.String()
			if depth > 0 && (strings.HasPrefix(s, "{") || strings.HasPrefix(s, "[")) {
				s = h.maskJSON([]byte(s), depth-1)
			}
			t = jsontext.String(h.Mask(s))
		}
		if err == nil {
			err = to.WriteToken(t)
		}
		if err != nil {
			return h.Mask(string(text))
		}
	}
}

// recordSent notes that a request is about to leave: in the audit log by its digest, and in SentFile by its words.
func (h *Host) recordSent(s llm.Sent) error {
	digest := sha256.Sum256(s.Body)
	event, err := h.Append(audit.Event{Kind: audit.ModelAsk, Reason: s.Model, Facts: map[string]string{"model": s.Model, "url": s.URL, "bytes": strconv.Itoa(len(s.Body)), "sha256": hex.EncodeToString(digest[:]), "try": strconv.Itoa(s.Try)}})
	if err != nil {
		return err
	}
	line, err := json.Marshal(sentLine{Time: time.Now().UTC(), Event: event, Model: s.Model, URL: s.URL, Try: s.Try, Body: h.maskJSON(s.Body, 3)})
	if err != nil {
		return err
	}
	h.models.Lock()
	defer h.models.Unlock()
	path := SentFile(h.o.Paths)
	if st, err := os.Lstat(path); err == nil && (!st.Mode().IsRegular() || st.Size() > maxSent) {
		if err := os.Rename(path, path+".1"); err != nil {
			return err
		}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// placeOf is where a model is, for people.
func (h *Host) placeOf(name string) string {
	def, _ := h.Config().Model(name)
	if def.Local() {
		return "on this computer"
	}
	if u, err := url.Parse(def.URL); err == nil {
		return "at " + u.Host
	}
	return "elsewhere"
}

// sample has a model answer for a server.
func (h *Host) sample(ctx context.Context, s server.Sampling) (server.Sampled, error) {
	m, err := h.Model(s.Model)
	if err != nil {
		return server.Sampled{}, err
	}
	r := llm.Request{System: s.System, Most: s.MaxTokens}
	for _, t := range s.Messages {
		r.Messages = append(r.Messages, llm.Message{Role: llm.Role(t.Role), Parts: []llm.Part{{Kind: llm.Text, Text: t.Text}}})
	}
	a, err := m.Ask(ctx, r, func(llm.Delta) {})
	if err != nil {
		return server.Sampled{}, err
	}
	var text strings.Builder
	for _, p := range a.Parts {
		if p.Kind == llm.Text {
			text.WriteString(p.Text)
		}
	}
	if a.Stop == llm.StopRefused || text.Len() == 0 {
		return server.Sampled{}, errors.New("it did not want to say anything")
	}
	return server.Sampled{Text: h.Mask(text.String()), Stop: map[bool]string{true: "maxTokens", false: "endTurn"}[a.Stop == llm.StopLength]}, nil
}

// SetSampling names the model that a server may have asked, "" for none. A running server learns of it at its next start.
func (h *Host) SetSampling(name, model string) error {
	err := h.edit(func(c *config.Config) error {
		i := slices.IndexFunc(c.Servers, func(s config.Server) bool { return s.Name == name })
		if i < 0 {
			return fmt.Errorf("%w: %q", server.ErrUnknown, name)
		}
		c.Servers[i].Sampling = model
		return nil
	})
	if err != nil {
		return err
	}
	def, _ := h.Config().Server(name)
	h.Servers.Set(def)
	reason := "it may have the model " + model + " asked"
	if model == "" {
		reason = "it may have no model asked"
	}
	_, err = h.Append(audit.Event{Kind: audit.ServerGrant, Server: name, Decision: audit.YouAllowed, Reason: reason})
	h.o.Changed()
	return err
}
