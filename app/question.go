package app

import (
	"cordon/app/browser"
	"cordon/host/elicit"

	"github.com/go-json-experiment/json/jsontext"
)

func questionView(q elicit.Open, waiting int) *QuestionView {
	v := &QuestionView{Ticket: q.Ticket, Server: q.Server, Kind: string(q.Kind), Message: q.Message, Intro: q.Intro, Yes: q.Yes, Fields: []FieldView{}, URL: q.URL, Host: q.Host, Deadline: stamp(q.Until), Waiting: waiting, SignIn: q.SignIn}
	for _, f := range q.Fields {
		x := FieldView{Name: f.Name, Title: f.Title, Description: f.Description, Type: string(f.Type), Required: f.Required, Format: f.Format, Options: []OptionView{}, Default: string(f.Default)}
		for _, o := range f.Options {
			x.Options = append(x.Options, OptionView(o))
		}
		v.Fields = append(v.Fields, x)
	}
	return v
}

// AnswerQuestion gives a server what a person answers. A page is opened in the system's browser before the server is told so. After an error the
// question is still open.
func (a *App) AnswerQuestion(an QuestionAnswer) error {
	answer := elicit.Answer{Action: elicit.Action(an.Action)}
	open, _, ok := a.forms.Current()
	if !ok || open.Ticket != an.Ticket {
		return elicit.ErrStale
	}
	for name, value := range an.Values {
		if answer.Values == nil {
			answer.Values = map[string]jsontext.Value{}
		}
		answer.Values[name] = jsontext.Value(value)
	}
	if err := a.host.CheckAnswer(open.Question, answer); err != nil {
		return err
	}
	if open.Kind == elicit.URL && answer.Action == elicit.Accept {
		if err := browser.Open(open.URL, open.SignIn); err != nil {
			return err
		}
	}
	return a.forms.Answer(an.Ticket, answer)
}
