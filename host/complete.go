package host

import (
	"context"
	"errors"
	"fmt"

	"cordon/host/elicit"
	"cordon/host/pin"
	"cordon/host/server"
)

// Complete asks a server to complete an argument of a prompt or a resource template. It is no call and leaves no record, so it is only for what a
// person has approved, and nothing that holds one of the user's own secrets is sent.
func (h *Host) Complete(ctx context.Context, name string, of server.Ref, argument, value string, others map[string]string) ([]string, error) {
	v, err := h.Servers.View(name)
	if err != nil {
		return nil, err
	}
	if v.State != server.Running || h.PinStatus(v).State != pin.Pinned {
		return nil, fmt.Errorf("%w: %s is not running, or not as it was approved", server.ErrNotRunning, name)
	}
	texts := []string{value}
	for _, o := range others {
		texts = append(texts, o)
	}
	for _, text := range texts {
		if h.HoldsSecret(text) {
			return nil, errors.New("it holds one of your secrets, or cannot be searched for them, so it is not sent")
		}
	}
	values, err := h.Servers.Complete(ctx, name, of, argument, value, others)
	for i := range values {
		values[i] = h.Mask(values[i])
	}
	return values, h.Gate.Words(ctx, name, err)
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
