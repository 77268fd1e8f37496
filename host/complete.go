package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"cordon/host/elicit"
	"cordon/host/pin"
	"cordon/host/server"
)

// Complete asks a server to complete an argument of a prompt or a resource template. It is no call and leaves no record, so it is only for what a
// person has approved, and nothing that holds one of the user's own secrets is sent.
func (h *Host) Complete(ctx context.Context, name string, of server.Ref, argument, value string, others map[string]string) ([]string, error) {
	if err := h.mayTell(name, append(slices.Collect(maps.Values(others)), value)...); err != nil {
		return nil, err
	}
	values, err := h.Servers.Complete(ctx, name, of, argument, value, others)
	for i := range values {
		values[i] = h.Mask(values[i])
	}
	return values, h.Gate.Words(ctx, name, err)
}

// Watch is Supervisor.Watch for what a person has approved. It is no call and leaves no record; an address that holds one of the user's own secrets is
// not sent.
func (h *Host) Watch(ctx context.Context, name, uri string, changed func()) error {
	if err := h.mayTell(name, uri); err != nil {
		return err
	}
	return h.Servers.Watch(ctx, name, uri, changed)
}

// mayTell reports why these texts are not sent to a server beside a call.
func (h *Host) mayTell(name string, texts ...string) error {
	v, err := h.Servers.View(name)
	if err != nil {
		return err
	}
	if v.State != server.Running || h.PinStatus(v).State != pin.Pinned {
		return fmt.Errorf("%w: %s is not running, or not as it was approved", server.ErrNotRunning, name)
	}
	if slices.ContainsFunc(texts, h.HoldsSecret) {
		return errors.New("it holds one of your secrets, or cannot be searched for them, so it is not sent")
	}
	return nil
}

// Icons is Supervisor.Icons for what a person has approved: whoever has not looked at a server is not shown what it would look like.
func (h *Host) Icons(ctx context.Context, name string) ([]server.Icon, error) {
	if err := h.mayTell(name); err != nil {
		return nil, err
	}
	return h.Servers.Icons(ctx, name)
}

// CheckAnswer reports why a person's answer to a server is not sent: it does not fit, or a value holds one of the user's own secrets. The error is a
// *elicit.FieldError if it is about a field.
func (h *Host) CheckAnswer(q elicit.Question, a elicit.Answer) error {
	for name, value := range a.Values {
		if !value.IsValid() {
			return &elicit.FieldError{Field: name, Err: errors.New("it cannot be sent")}
		}
		if h.HoldsSecret(string(value)) {
			return &elicit.FieldError{Field: name, Err: fmt.Errorf("it holds one of your secrets, or cannot be searched for them; %s would read it, so it is not sent", q.Server)}
		}
	}
	return q.Check(a)
}
