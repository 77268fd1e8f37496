package llm

import (
	"errors"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// answer collects what comes and passes it on. Positions are the order in which parts began.
type answer struct {
	on    func(Delta)
	parts []*piece
	size  int
	Answer
}

// piece is a part that may go on.
type piece struct {
	Part
	text strings.Builder // of a call: its arguments
	seal strings.Builder // goes on after Seal
}

var errTooLong = &Error{Fault: FaultBroken, err: errors.New("the answer is too long")}

// begin starts a part and returns its index.
func (a *answer) begin(p Part) (int, error) {
	if len(a.parts) == maxParts {
		return 0, errTooLong
	}
	a.parts = append(a.parts, &piece{Part: p})
	i := len(a.parts) - 1
	if p.Kind == Call {
		a.on(Delta{Index: i, Kind: Call, Name: p.Name})
	}
	return i, nil
}

// add continues a part.
func (a *answer) add(i int, text string) error {
	if text == "" {
		return nil
	}
	if a.size += len(text); a.size > maxText {
		return errTooLong
	}
	p := a.parts[i]
	p.text.WriteString(text)
	a.on(Delta{Index: i, Kind: p.Kind, Text: text})
	return nil
}

// last continues the part that began last if it is of that kind, and begins one otherwise.
func (a *answer) last(kind Kind, text string) error {
	if text == "" {
		return nil
	}
	i := len(a.parts) - 1
	if i < 0 || a.parts[i].Kind != kind {
		var err error
		if i, err = a.begin(Part{Kind: kind}); err != nil {
			return err
		}
	}
	return a.add(i, text)
}

// done is what came. A part of which nothing came is left out. A call keeps its arguments as text if they are not an object. Calls of an
// answer that broke off are not to be made: only the last may be incomplete, but nobody knows what would have followed.
func (a *answer) done() Answer {
	out := a.Answer
	for i, p := range a.parts {
		p.Seal += p.seal.String()
		p.seal.Reset()
		part, text := p.Part, strings.ToValidUTF8(p.text.String(), "\uFFFD")
		switch {
		case part.Kind != Call:
			part.Text = text
			if text == "" && part.Seal == "" {
				continue
			}
		case strings.TrimSpace(text) == "":
			part.Args = jsontext.Value("{}")
		default:
			if v := jsontext.Value(text); v.IsValid() && v.Kind() == '{' {
				part.Args = v
			} else {
				part.Text = text
			}
		}
		if part.Kind == Call && part.ID == "" {
			part.ID = "call-" + strconv.Itoa(i)
		}
		out.Parts = append(out.Parts, part)
	}
	return out
}
