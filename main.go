// Command cordon-desktop is Cordon's window. It finds the directories, becomes the owner of the state, and hands over
// to package app; everything with a meaning lives there or below.
package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/wailsapp/wails/v2"
	"github.com/wailsapp/wails/v2/pkg/logger"
	"github.com/wailsapp/wails/v2/pkg/options"
	"github.com/wailsapp/wails/v2/pkg/options/assetserver"
	"github.com/wailsapp/wails/v2/pkg/options/linux"

	"cordon/app"
	"cordon/host/config"
)

//go:embed all:frontend/dist
var assets embed.FS

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
	exitHeld  = 3 // another Cordon runs
)

// closeTimeout bounds the orderly end: stopping servers, denying questions, writing the log's last lines.
const closeTimeout = 20 * time.Second

const usage = `cordon-desktop is Cordon's window.

Usage:
  cordon-desktop            open the window
  cordon-desktop --version  print the version
  cordon-desktop --help     print this

One Cordon runs at a time; a second one says so and exits with code 3.
Directories follow the XDG variables (XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_DATA_HOME, XDG_RUNTIME_DIR, XDG_CACHE_HOME).
For the command line use: cordon --help
`

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run does everything and returns the exit code. It must be called on the main thread.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 { // nothing of GTK has been touched yet
		switch {
		case len(args) == 1 && (args[0] == "--version" || args[0] == "-v"):
			fmt.Fprintln(stdout, "cordon-desktop", app.Version)
			return exitOK
		case len(args) == 1 && (args[0] == "--help" || args[0] == "-h"):
			fmt.Fprint(stdout, usage)
			return exitOK
		}
		fmt.Fprintf(stderr, "cordon-desktop: unknown argument %q\n\n%s", args[0], usage)
		return exitUsage
	}
	if err := open(stderr); err != nil {
		fmt.Fprintln(stderr, "cordon-desktop:", err)
		if _, held := errors.AsType[*config.HeldError](err); held {
			return exitHeld
		}
		return exitError
	}
	return exitOK
}

// open shows the window and returns when it is closed and everything behind it has ended.
func open(stderr io.Writer) error {
	dist, err := fs.Sub(assets, "frontend/dist")
	if err != nil {
		return err
	}
	if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return errors.New("there is no display (DISPLAY and WAYLAND_DISPLAY are not set); start it from a desktop session, or use: cordon --help")
	}

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, ending...)
	defer signal.Stop(signals)

	paths, err := config.FindPaths(os.Getenv)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	a, err := app.New(app.Options{Paths: paths, Log: log, WebSandbox: webSandbox()})
	if held, ok := errors.AsType[*config.HeldError](err); ok {
		return fmt.Errorf("another Cordon is running: %w", held)
	} else if err != nil {
		return err
	}
	shut := sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		return app.Close(ctx, a)
	})

	w := newWindow()
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { endOnSignal(signals, done, w, log) })

	err = wails.Run(&options.App{
		Title:              "Cordon",
		Width:              1280,
		Height:             832,
		MinWidth:           880,
		MinHeight:          560,
		BackgroundColour:   options.NewRGB(22, 24, 28),
		AssetServer:        &assetserver.Options{Assets: dist, Middleware: app.Guard},
		Bind:               []any{a},
		ErrorFormatter:     formatError,
		LogLevelProduction: logger.ERROR,
		OnStartup: func(ctx context.Context) {
			ours(signals)
			w.started(ctx)
			app.Attach(ctx, a, w)
		},
		// Runs while the window still stands, so that its last state can be shown.
		OnShutdown: func(context.Context) {
			if err := shut(); err != nil {
				log.Error("close", "err", err)
			}
		},
		Linux: &linux.Options{ProgramName: "cordon", WebviewGpuPolicy: linux.WebviewGpuPolicyNever},
	})
	close(done)
	watching.Wait()
	return errors.Join(err, shut())
}

// formatError describes err to the page as the JSON text of a Failure: Wails puts whatever it gets into a JavaScript
// Error, which would turn an object into "[object Object]".
func formatError(err error) any {
	b, failed := json.Marshal(app.FailureOf(err))
	if failed != nil {
		return err.Error()
	}
	return string(b)
}

// ending are the signals that close the window.
var ending = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP}

// ours takes the signals that end Cordon from Wails, which listens too: two that quit meet in GTK, and it aborts.
func ours(signals chan<- os.Signal) {
	signal.Reset(ending...)
	signal.Notify(signals, ending...)
}

// endOnSignal closes the window at the first signal and gives up on order at the second, or when closing takes too
// long; servers die with this process in any case.
func endOnSignal(signals <-chan os.Signal, done <-chan struct{}, w *window, log *slog.Logger) {
	select {
	case <-done:
		return
	case s := <-signals:
		log.Info("closing", "signal", s.String())
		w.quit()
	}
	timer := time.NewTimer(closeTimeout + 5*time.Second)
	defer timer.Stop()
	select {
	case <-done:
		return
	case s := <-signals:
		log.Error("ending at once", "signal", s.String())
	case <-timer.C:
		log.Error("ending at once", "reason", "closing took too long")
	}
	os.Exit(exitError)
}
