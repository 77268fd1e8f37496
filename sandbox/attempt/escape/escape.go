// Package escape is what a hostile tool server would try: one act for each way out of a sandbox that we know of. The tests
// run every act bare, where it has to work, and confined, where it must not. Nothing is sent past loopback, every loop is
// bounded, and what an act leaves running carries a mark by which the tests end it.
package escape

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Act is one attempt. It returns what it got, or the error that stopped it.
type Act func(a []string) (string, error)

// Result is how an act ended. Detail is what it got, or the kernel's answer in words.
type Result struct {
	Worked bool   `json:"worked"`
	Detail string `json:"detail"`
}

// classes hold the acts; no name is in two of them.
func classes() []map[string]Act {
	return []map[string]Act{files, changes, processes, looks, ipc, network, kernel, lifetime, torment, asks}
}

// copied ends the names of what a copy of this program does, which another act has started.
const copied = "-inside"

// patience bounds how long an act stays for the tests to look at what it did.
const patience = 20 * time.Second

// Main runs the act that args begin with, prints its Result as a line of JSON and waits for the end of in.
func Main(args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("no act is named")
	}
	if stays, ok := lifetime[args[0]]; ok && strings.HasSuffix(args[0], copied) {
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
		_, err := stays(args[1:])
		return err
	}
	runtime.LockOSThread() // some of what is asked for belongs to a thread
	if err := json.NewEncoder(out).Encode(do(args[0], args[1:])); err != nil {
		return err
	}
	if strings.HasSuffix(args[0], copied) {
		return nil
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in)
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(patience):
	}
	return nil
}

func do(name string, args []string) (r Result) {
	defer func() {
		if why := recover(); why != nil {
			r = Result{Detail: fmt.Sprint("panic: ", why)}
		}
	}()
	for _, c := range classes() {
		if act, ok := c[name]; ok {
			got, err := act(args)
			if err != nil {
				return Result{Detail: reason(err)}
			}
			return Result{Worked: true, Detail: got}
		}
	}
	return Result{Detail: "no such act"}
}

// reason is the errno's text where there is one.
func reason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

// sys makes a system call by its number.
func sys(nr uintptr, a ...uintptr) (uintptr, error) {
	var b [6]uintptr
	copy(b[:], a)
	r, _, errno := unix.Syscall6(nr, b[0], b[1], b[2], b[3], b[4], b[5])
	if errno != 0 {
		return r, errno
	}
	return r, nil
}

// answered says of a call that it was reached: it worked, or only disliked its arguments.
func answered(fine unix.Errno, nr uintptr, a ...uintptr) (string, error) {
	if _, err := sys(nr, a...); err != nil && err != fine {
		return "", err
	}
	return "answered", nil
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// own runs an act as root of a user namespace of its own, with others besides, or, where none can be made, as it is.
func own(flags uintptr, name string, a []string) (string, error) {
	c := exec.Command("/proc/self/exe", append([]string{name + "-inside"}, a...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | flags, UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}}
	out, err := c.Output()
	var r Result
	if err == nil {
		if err = json.Unmarshal(out, &r); err == nil && !r.Worked {
			err = errors.New(r.Detail)
		}
		return r.Detail, err
	}
	return kernel[name+copied](a)
}
