package main

import (
	"context"
	"errors"

	"github.com/wailsapp/wails/v2/pkg/runtime"
)

// window is app.Window over Wails. It and main are the only places that know Wails. Safe for concurrent use.
type window struct {
	ready chan struct{} // closed by started
	ctx   context.Context
}

func newWindow() *window { return &window{ready: make(chan struct{})} }

// started hands over the context that Wails demands with every call; any other ends the program. Called once.
func (w *window) started(ctx context.Context) {
	w.ctx = ctx
	close(w.ready)
}

// Emit implements app.Window.
func (w *window) Emit(event string, payload any) {
	<-w.ready
	runtime.EventsEmit(w.ctx, event, payload)
}

// ChooseFolder implements app.Window.
func (w *window) ChooseFolder(title string) (string, error) {
	select {
	case <-w.ready:
	default:
		return "", errors.New("the window is not open yet")
	}
	return runtime.OpenDirectoryDialog(w.ctx, runtime.OpenDialogOptions{Title: title, CanCreateDirectories: true})
}

// ChooseFile implements app.Window.
func (w *window) ChooseFile(title, name string) (string, error) {
	select {
	case <-w.ready:
	default:
		return "", errors.New("the window is not open yet")
	}
	return runtime.SaveFileDialog(w.ctx, runtime.SaveDialogOptions{Title: title, DefaultFilename: name, CanCreateDirectories: true})
}

// quit closes the window, once there is one.
func (w *window) quit() {
	<-w.ready
	runtime.Quit(w.ctx)
}
