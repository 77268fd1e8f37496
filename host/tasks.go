package host

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"cordon/host/audit"
	"cordon/host/config"
	"cordon/host/server"

	"github.com/go-json-experiment/json"
)

const (
	maxTasks    = 256
	maxOfServer = 32
	taskLife    = 30 * 24 * time.Hour // of one whose server does not say when it forgets it
)

// tasks is a server.Tasks in a file, so that what a server works on is found again after the next start. It holds no arguments and no results.
type tasks struct {
	file    string
	changed func()

	mu sync.Mutex
	by map[string]server.Task // guarded by mu; by server and id; nil until it is read
}

func newTasks(p config.Paths, changed func()) *tasks {
	return &tasks{file: filepath.Join(p.State, "tasks.json"), changed: changed}
}

func taskKey(server, id string) string { return server + "\x00" + id }

// read fills by. The caller holds mu.
func (t *tasks) read() {
	if t.by != nil {
		return
	}
	t.by = map[string]server.Task{}
	st, err := os.Lstat(t.file)
	if err != nil || !st.Mode().IsRegular() || st.Size() > 1<<20 {
		return
	}
	b, err := os.ReadFile(t.file)
	var kept []server.Task
	if err != nil || json.Unmarshal(b, &kept) != nil {
		return
	}
	for _, k := range kept {
		t.by[taskKey(k.Server, k.ID)] = k
	}
}

// write saves by. The caller holds mu. What cannot be saved is forgotten with the process.
func (t *tasks) write() {
	if b, err := json.Marshal(server.SortTasks(t.by), json.Deterministic(true)); err == nil {
		_ = config.WriteFile(t.file, b)
	}
}

// Began implements server.Tasks.
func (t *tasks) Began(k server.Task) {
	t.mu.Lock()
	t.read()
	of := 0
	for _, other := range t.by {
		if other.Server == k.Server {
			of++
		}
	}
	if latest := k.Began.Add(taskLife); k.Ends.After(latest) {
		k.Ends = latest
	}
	if len(t.by) < maxTasks && of < maxOfServer {
		t.by[taskKey(k.Server, k.ID)] = k
		t.write()
	}
	t.mu.Unlock()
	t.changed()
}

// Ended implements server.Tasks.
func (t *tasks) Ended(name, id string) {
	t.mu.Lock()
	t.read()
	_, had := t.by[taskKey(name, id)]
	if had {
		delete(t.by, taskKey(name, id))
		t.write()
	}
	t.mu.Unlock()
	if had {
		t.changed()
	}
}

// Known implements server.Tasks.
func (t *tasks) Known(name, of, id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read()
	k, ok := t.by[taskKey(name, id)]
	return ok && k.Tool == of
}

// all returns what is still open, oldest first.
func (t *tasks) all() []server.Task {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read()
	now := time.Now()
	for key, k := range t.by {
		ends := k.Ends
		if ends.IsZero() {
			ends = k.Began.Add(taskLife)
		}
		if now.After(ends) {
			delete(t.by, key)
		}
	}
	return server.SortTasks(t.by)
}

// forget drops the tasks of a server.
func (t *tasks) forget(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read()
	for key, k := range t.by {
		if k.Server == name {
			delete(t.by, key)
		}
	}
	t.write()
}

// Tasks are the calls that servers still work on, or have ended without anybody waiting, oldest first. Their results are fetched by proposals of the
// kind tool.FetchTask.
func (h *Host) Tasks() []server.Task { return h.tasks.all() }

// CancelTask tells a server that nobody wants the result of a task any more, and forgets it. A server that does not run is started for that.
func (h *Host) CancelTask(ctx context.Context, name, id string) error {
	if state, _, err := h.Servers.State(name); err == nil && state != server.Running {
		if err := h.Servers.Start(ctx, name); err != nil {
			return err
		}
	}
	if _, err := h.Append(audit.Event{Kind: audit.CallOutcome, Server: name, Decision: audit.YouDenied, Reason: "its task was cancelled", Facts: map[string]string{"kind": "task", "task": id}}); err != nil {
		return err
	}
	return h.Gate.Words(ctx, name, h.Servers.CancelTask(ctx, name, id))
}
