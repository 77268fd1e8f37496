package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"cordon/host/tool"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A modern server may answer a call with a task instead of a result: it works on, and is asked from time to time how far it is (extension
// io.modelcontextprotocol/tasks). A legacy server (2025-11-25) does so for tools that say that they need it; it has to be asked for that, and for the
// result, and asks its own questions then. The call waits for it like for any other; when its time is over or Cordon ends, the task is remembered, and its
// result can be fetched later by a call of its own.

// Task is a call that a server works on without anybody waiting.
type Task struct {
	ID     string    `json:"id"` // the server's
	Server string    `json:"server"`
	Tool   string    `json:"tool"`
	Call   string    `json:"call"` // id of the call that began it
	Began  time.Time `json:"began"`
	Ends   time.Time `json:"ends,omitzero"` // when the server may forget it; zero if it does not say
}

// Tasks remembers tasks beyond the end of the program. It may lose them.
type Tasks interface {
	Began(t Task)
	Ended(server, id string)
	Known(server, tool, id string) bool // reports whether that tool's call began such a task
}

const (
	tasksExtension = "io.modelcontextprotocol/tasks"

	maxTaskID   = maxName // bytes
	minPoll     = 100 * time.Millisecond
	maxPoll     = 30 * time.Second
	firstPoll   = time.Second // unless the server says otherwise
	cancelGrace = 2 * time.Second

	legacyTTL = time.Hour // for how long a legacy server is asked to keep a result

	noticePatience = 10 * time.Second // for a server to take what is only told
)

// errTaskLeft ends a call whose task goes on.
type errTaskLeft struct {
	id  string
	err error
}

func (e *errTaskLeft) Error() string {
	return fmt.Sprintf("the server is still working on it (task %s); fetch the result later", brief(e.id))
}

func (e *errTaskLeft) Unwrap() error { return e.err }

// task is what a server says of one.
type task struct {
	ID      string             `json:"taskId"`
	Status  string             `json:"status"`
	Message string             `json:"statusMessage"`
	TTL     jsontext.Value     `json:"ttlMs"`
	Poll    jsontext.Value     `json:"pollIntervalMs"`
	OldTTL  jsontext.Value     `json:"ttl"`          // of a legacy server
	OldPoll jsontext.Value     `json:"pollInterval"` // of a legacy server
	Needs   map[string]inquiry `json:"inputRequests"`
	Result  jsontext.Value     `json:"result"`
	Error   jsontext.Value     `json:"error"`
}

// pause is how long to wait before the server is asked again.
func (t task) pause() time.Duration {
	var ms float64
	if t.Poll == nil {
		t.Poll = t.OldPoll
	}
	if t.Poll.Kind() != '0' || json.Unmarshal(t.Poll, &ms) != nil || !(ms >= 0) {
		return firstPoll
	}
	return min(max(time.Duration(min(ms, 1e9))*time.Millisecond, minPoll), maxPoll)
}

// began starts to follow the task that a call was answered with.
func (s *session) began(ctx context.Context, c tool.Call, raw jsontext.Value) (jsontext.Value, error) {
	var t task
	if json.Unmarshal(raw, &t) != nil || t.ID == "" || len(t.ID) > maxTaskID || offerName(t.ID) != nil {
		return nil, errors.New("it answered with a task that has no usable name")
	}
	kept := Task{ID: t.ID, Server: s.name, Tool: c.Tool.ID.Name, Call: c.ID, Began: time.Now().UTC()}
	var ms float64
	if t.TTL == nil {
		t.TTL = t.OldTTL
	}
	if t.TTL.Kind() == '0' && json.Unmarshal(t.TTL, &ms) == nil && ms > 0 {
		kept.Ends = kept.Began.Add(time.Duration(min(ms, 1e12)) * time.Millisecond)
	}
	s.tasks.Began(kept)
	return s.await(ctx, c, t)
}

// await asks for a task until it has ended and returns its result. A person who cancels the call cancels the task; one that is only given up goes
// on.
func (s *session) await(ctx context.Context, c tool.Call, t task) (jsontext.Value, error) {
	id := t.ID
	answered, questions, said := map[string]bool{}, 0, ""
	for polls := 1; ; polls++ {
		if s.era != Modern && slices.Contains([]string{"completed", "failed", "input_required"}, t.Status) {
			raw, err := s.request(ctx, "tasks/result", map[string]any{"taskId": id}, nil) // it waits for the end, and for answers
			if _, says := errors.AsType[*ServerError](err); err != nil && !says {
				return nil, s.leave(ctx, id, err)
			}
			s.tasks.Ended(s.name, id)
			return raw, err
		}
		switch t.Status {
		case "completed":
			s.tasks.Ended(s.name, id)
			if t.Result.Kind() != '{' {
				return nil, errors.New("its task has ended without a result")
			}
			return t.Result, nil
		case "failed":
			s.tasks.Ended(s.name, id)
			e := &ServerError{}
			if json.Unmarshal(t.Error, e) != nil || e.Text == "" {
				return nil, errors.New("its task has failed, and it does not say why")
			}
			return nil, e
		case "cancelled":
			s.tasks.Ended(s.name, id)
			return nil, errors.New("its task was cancelled")
		case "working":
		case "input_required":
			open := map[string]inquiry{}
			for key, n := range t.Needs {
				if !answered[key] {
					open[key], answered[key] = n, true
				}
			}
			if len(open) == 0 {
				break
			}
			if questions++; questions > maxRounds {
				s.abandon(id)
				return nil, fmt.Errorf("its task asked for more %d times and did not end", questions)
			}
			given, err := s.answers(ctx, c.ID, open)
			if err == nil {
				_, err = s.request(ctx, "tasks/update", map[string]any{"taskId": id, "inputResponses": given}, nil)
			}
			if err != nil {
				return nil, s.leave(ctx, id, err)
			}
		default:
			return nil, fmt.Errorf("its task is %q, which means nothing here", brief(t.Status))
		}
		news := t.Message != said
		said = t.Message
		if news && tool.GoesOn(ctx, float64(polls)) && s.progress != nil {
			s.progress(tool.Progress{CallID: c.ID, Ticket: c.Ticket, Server: s.name, Done: float64(polls), Text: brief(t.Message)})
		}
		select {
		case <-time.After(t.pause()):
		case <-ctx.Done():
			return nil, s.leave(ctx, id, context.Cause(ctx))
		case <-s.ending.Done():
			return nil, &errTaskLeft{id, errStopped}
		case <-s.over:
			return nil, &errTaskLeft{id, errors.New("its session ended")}
		}
		raw, err := s.request(ctx, "tasks/get", map[string]any{"taskId": id}, nil)
		if err != nil {
			return nil, s.leave(ctx, id, err)
		}
		t = task{}
		if json.Unmarshal(raw, &t) != nil || t.ID != id {
			return nil, errors.New("what it says of its task cannot be read, or is about another one")
		}
	}
}

// needsTask reports whether a tool of a legacy server runs as a task and not otherwise.
func needsTask(t tool.Tool) bool {
	var def struct {
		Execution struct {
			Task string `json:"taskSupport"`
		} `json:"execution"`
	}
	return json.Unmarshal(t.Definition, &def) == nil && def.Execution.Task == "required"
}

// leave ends the waiting for a task: what somebody cancelled is cancelled there too, what the server does not know any more is forgotten, anything
// else goes on.
func (s *session) leave(ctx context.Context, id string, err error) error {
	var e *ServerError
	switch {
	case errors.Is(context.Cause(ctx), context.Canceled):
		s.abandon(id)
		return err
	case errors.As(err, &e):
		s.tasks.Ended(s.name, id)
		return fmt.Errorf("its task is lost: %w", err)
	}
	return &errTaskLeft{id, err}
}

// abandon tells the server that nobody wants the result of a task any more.
func (s *session) abandon(id string) {
	s.tasks.Ended(s.name, id)
	s.do(func() {
		ctx, cancel := context.WithTimeout(s.ending, cancelGrace)
		defer cancel()
		_, _ = s.request(ctx, "tasks/cancel", map[string]any{"taskId": id}, nil)
	})
}

// resumed is the result of a task that was left before.
func (s *session) resumed(ctx context.Context, c tool.Call) (jsontext.Value, error) {
	var args struct {
		ID string `json:"taskId"`
	}
	if err := json.Unmarshal(c.Args, &args); err != nil || args.ID == "" {
		return nil, errors.New("no task is named")
	}
	if !s.tasks.Known(s.name, c.Tool.ID.Name, args.ID) { // nothing is sent: the name could hold anything
		return nil, fmt.Errorf("%s has begun no such task", c.Tool.ID)
	}
	return s.await(ctx, c, task{ID: args.ID, Status: "working", Poll: jsontext.Value("0")})
}

// CancelTask tells a running server that nobody wants the result of a task any more. Cancelling is the server's to do.
func (s *Supervisor) CancelTask(ctx context.Context, name, id string) error {
	live, err := s.live(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, noticePatience)
	defer cancel()
	defer live.tasks.Ended(name, id) // whatever it says: nobody waits any more
	_, err = live.request(ctx, "tasks/cancel", map[string]any{"taskId": id}, nil)
	return err
}

// noTasks remembers nothing.
type noTasks struct{}

func (noTasks) Began(Task)           {}
func (noTasks) Ended(string, string) {}

func (noTasks) Known(string, string, string) bool { return false }

// taskTool is the fetching of a task's result as a tool: what it does was done when it was called.
func taskTool(t tool.Tool) tool.Tool {
	t.Title, t.Effect, t.EffectBy = "Fetch the result of "+t.ID.Name, tool.Read, "Cordon"
	t.InputSchema = []byte(`{"additionalProperties":false,"properties":{"taskId":{"maxLength":128,"type":"string"}},"required":["taskId"],"type":"object"}`)
	return t
}

// capabilities are what is offered to servers: whatever is asked of a person, and that a call may become a task.
func (s *session) capabilities() map[string]any {
	c := map[string]any{"extensions": map[string]any{tasksExtension: struct{}{}}}
	if s.roots != nil {
		c["roots"] = struct{}{}
	}
	if s.model != "" {
		c["sampling"] = struct{}{}
	}
	if s.elicit != nil {
		c["elicitation"] = map[string]any{"form": struct{}{}, "url": struct{}{}}
	}
	return c
}

// sorted tasks are shown oldest first.
func SortTasks(all map[string]Task) []Task {
	return slices.SortedFunc(maps.Values(all), func(a, b Task) int { return a.Began.Compare(b.Began) })
}
