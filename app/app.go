package app

import (
	"context"
	"errors"
	"log/slog"

	"cordon/host/config"
)

// Options are what New needs from outside.
type Options struct {
	Paths      config.Paths // made, and owned by this process
	Log        *slog.Logger
	WebSandbox string // why WebKit's own processes are not confined, or ""
}

// App is bound to the window: every exported method is callable from the page.
type App struct{ o Options }

// New opens the state.
func New(o Options) (*App, error) { return &App{o}, nil }

// Attach connects the window.
func Attach(ctx context.Context, a *App, w Window) {}

// Close ends everything.
func Close(ctx context.Context, a *App) error { return nil }

// Hello stands in for the real methods.
func (a *App) Hello(fail bool) (string, error) {
	if fail {
		return "", errors.New("asked to fail")
	}
	return "hello", nil
}

// Failure is what bound methods reject with.
type Failure struct {
	Code  string `json:"code"`
	What  string `json:"what"`
	Means string `json:"means"`
	Fix   string `json:"fix"`
}

// FailureOf describes err.
func FailureOf(err error) Failure { return Failure{Code: "CRD-XX-00", What: err.Error()} }
