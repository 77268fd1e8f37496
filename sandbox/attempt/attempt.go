// Package attempt tries forbidden things and says what worked. Tests run it bare and confined; the product's "watch
// a sandbox hold" shows the same to a person. It sends nothing beyond this machine.
package attempt

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Result is how one act ended. Detail is the kernel's answer in words.
type Result struct {
	Act    string `json:"act"`
	Arg    string `json:"arg"`
	Worked bool   `json:"worked"`
	Detail string `json:"detail"`
}

// acts maps a name to a function that returns what it achieved, or the error that stopped it.
var acts = map[string]func(arg string) (string, error){
	"read": func(p string) (string, error) {
		b, err := os.ReadFile(p)
		return fmt.Sprintf("%d bytes", len(b)), err
	},
	"list": func(p string) (string, error) {
		es, err := os.ReadDir(p)
		return fmt.Sprintf("%d entries", len(es)), err
	},
	"stat": func(p string) (string, error) {
		st, err := os.Lstat(p)
		if err != nil {
			return "", err
		}
		return st.Mode().String(), nil
	},
	"write": func(p string) (string, error) {
		return "written", os.WriteFile(p, []byte("written by attempt\n"), 0o600)
	},
	"append": func(p string) (string, error) {
		f, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return "", err
		}
		defer f.Close()
		_, err = f.WriteString("appended by attempt\n")
		return "appended", err
	},
	"chmod": func(p string) (string, error) { return "changed", os.Chmod(p, 0o777) },
	"setid": func(p string) (string, error) { // a file that lends its owner's rights, made in one go and in two
		f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE, 0o700)
		if err != nil {
			return "", err
		}
		f.Close()
		return "made", unix.Chmod(p, 0o4755)
	},
	"setid-new": func(p string) (string, error) {
		fd, err := unix.Open(p, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o4755)
		if err != nil {
			return "", err
		}
		return "made", unix.Close(fd)
	},
	"load": func(p string) (string, error) { // run it past execve, through the loader
		return "ran", exec.Command("/lib64/ld-linux-x86-64.so.2", p).Run()
	},
	"lease": func(p string) (string, error) { // holds up whoever opens the file, also with only reading granted
		f, err := os.Open(p)
		if err != nil {
			return "", err
		}
		defer f.Close()
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
		return "taken", err
	},
	"remove":   func(p string) (string, error) { return "removed", os.Remove(p) },
	"truncate": func(p string) (string, error) { return "emptied", os.Truncate(p, 0) },
	"link": func(p string) (string, error) {
		name := "/tmp/attempt-link-" + strconv.Itoa(os.Getpid())
		if err := os.Link(p, name); err != nil {
			return "", err
		}
		return "linked", os.Remove(name)
	},
	"exec": func(p string) (string, error) { return "ran", exec.Command(p).Run() },
	"unix": func(p string) (string, error) {
		c, err := net.DialTimeout("unix", p, time.Second)
		if err != nil {
			return "", err
		}
		return "connected", c.Close()
	},
	"tcp": func(a string) (string, error) { return connect(a, unix.SOCK_STREAM, 0) },
	"udp": func(a string) (string, error) { return connect(a, unix.SOCK_DGRAM, 0) },
	"mptcp": func(a string) (string, error) {
		return connect(a, unix.SOCK_STREAM, 262)
	},
	"bind-tcp":   func(a string) (string, error) { return bind(a, unix.SOCK_STREAM, 0) },
	"bind-udp":   func(a string) (string, error) { return bind(a, unix.SOCK_DGRAM, 0) },
	"bind-mptcp": func(a string) (string, error) { return bind(a, unix.SOCK_STREAM, 262) },
	"serve":      serve,
	"env": func(name string) (string, error) {
		if v, ok := os.LookupEnv(name); ok {
			return fmt.Sprintf("%d characters", len(v)), nil
		}
		return "", fmt.Errorf("not set")
	},
	"fd": func(n string) (string, error) {
		fd, err := strconv.Atoi(n)
		if err != nil {
			return "", err
		}
		var st unix.Stat_t
		return "open", unix.Fstat(fd, &st)
	},
	"kill": func(p string) (string, error) {
		pid, err := strconv.Atoi(p)
		if err != nil {
			return "", err
		}
		return "signalled", unix.Kill(pid, 0)
	},
	"forks":   forks,
	"memory":  memory,
	"daemon":  daemon,
	"unshare": func(string) (string, error) { return "made", call(unix.SYS_UNSHARE, unix.CLONE_NEWUTS) },
	"clone-ns": func(string) (string, error) {
		c := exec.Command("/bin/true")
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
		return "made", c.Run()
	},
	"mount":  func(p string) (string, error) { return "mounted", unix.Mount("tmpfs", p, "tmpfs", 0, "") },
	"chroot": func(p string) (string, error) { return "changed", unix.Chroot(p) },
	"ptrace": func(string) (string, error) { return "traced", call(unix.SYS_PTRACE, 0) },
	"io_uring": func(string) (string, error) {
		var params [128]byte
		fd, _, errno := unix.RawSyscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
		if errno != 0 {
			return "", errno
		}
		return "made", unix.Close(int(fd))
	},
	"keyring": func(string) (string, error) {
		id, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true)
		return fmt.Sprintf("keyring %d", id), err
	},
	"bpf":         func(string) (string, error) { return "loaded", errnoUnless(unix.SYS_BPF, unix.EINVAL) },
	"userfaultfd": func(string) (string, error) { return "made", call(unix.SYS_USERFAULTFD, unix.O_CLOEXEC) },
	"capability": func(string) (string, error) {
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var d [2]unix.CapUserData
		if err := unix.Capget(&h, &d[0]); err != nil {
			return "", err
		}
		if d[0].Effective|d[1].Effective == 0 {
			return "", fmt.Errorf("none")
		}
		return fmt.Sprintf("%08x%08x", d[1].Effective, d[0].Effective), nil
	},
	"setuid": func(string) (string, error) { return "changed", call(unix.SYS_SETUID, 65533) },
	"sysv": func(key string) (string, error) {
		k, err := strconv.Atoi(key)
		if err != nil {
			return "", err
		}
		_, _, errno := unix.RawSyscall(unix.SYS_SHMGET, uintptr(k), 0, 0)
		if errno != 0 {
			return "", errno
		}
		return "found", nil
	},
	"hostname": func(want string) (string, error) {
		h, err := os.Hostname()
		if err == nil && h != want {
			err = fmt.Errorf("it is %q here", h)
		}
		return h, err
	},
}

// Names returns the known acts, sorted.
func Names() []string {
	var ns []string
	for n := range acts {
		ns = append(ns, n)
	}
	sort.Strings(ns)
	return ns
}

// Do carries out one act.
func Do(act, arg string) Result {
	f, ok := acts[act]
	if !ok {
		return Result{act, arg, false, "no such act"}
	}
	detail, err := f(arg)
	if err != nil {
		return Result{act, arg, false, reason(err)}
	}
	return Result{act, arg, true, detail}
}

// reason is the innermost text of an error: "permission denied" rather than a path and a chain.
func reason(err error) string {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err.Error()
		}
		next := u.Unwrap()
		if next == nil {
			return err.Error()
		}
		err = next
	}
}

// Main runs the acts named in args, each "act" or "act=argument", and writes one JSON Result per line.
func Main(args []string, out io.Writer) error {
	enc := json.NewEncoder(out)
	for _, a := range args {
		act, arg, _ := strings.Cut(a, "=")
		if err := enc.Encode(Do(act, arg)); err != nil {
			return err
		}
	}
	return nil
}

func call(nr uintptr, args ...uintptr) error {
	var a [3]uintptr
	copy(a[:], args)
	if _, _, errno := unix.RawSyscall(nr, a[0], a[1], a[2]); errno != 0 {
		return errno
	}
	return nil
}

// errnoUnless treats one errno as success: the call was reached and only disliked its arguments.
func errnoUnless(nr uintptr, fine unix.Errno) error {
	if err := call(nr); err != nil && err != fine {
		return err
	}
	return nil
}

func address(a string) (unix.Sockaddr, int, error) {
	ap, err := net.ResolveTCPAddr("tcp", a)
	if err != nil {
		return nil, 0, err
	}
	if ip := ap.IP.To4(); ip != nil {
		return &unix.SockaddrInet4{Port: ap.Port, Addr: [4]byte(ip)}, unix.AF_INET, nil
	}
	return &unix.SockaddrInet6{Port: ap.Port, Addr: [16]byte(ap.IP.To16())}, unix.AF_INET6, nil
}

func connect(a string, kind, proto int) (string, error) {
	sa, family, err := address(a)
	if err != nil {
		return "", err
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return "connected", unix.Connect(fd, sa)
}

func bind(a string, kind, proto int) (string, error) {
	sa, family, err := address(a)
	if err != nil {
		return "", err
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return "bound", unix.Bind(fd, sa)
}

// serve listens on an address, connects to it from within, and holds it for a second so that others can try.
func serve(a string) (string, error) {
	l, err := net.Listen("tcp", a)
	if err != nil {
		return "", err
	}
	defer l.Close()
	c, err := net.DialTimeout("tcp", l.Addr().String(), time.Second)
	if err != nil {
		return "", err
	}
	c.Close()
	time.Sleep(time.Second)
	return "listened on " + l.Addr().String(), nil
}

// forks starts n sleeping children at once and ends them again.
func forks(arg string) (string, error) {
	n, err := strconv.Atoi(arg)
	if err != nil {
		return "", err
	}
	var children []*exec.Cmd
	defer func() {
		for _, c := range children {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}()
	for range n {
		c := exec.Command("/bin/sleep", "10")
		if err := c.Start(); err != nil {
			return "", fmt.Errorf("stopped after %d: %w", len(children), err)
		}
		children = append(children, c)
	}
	return fmt.Sprintf("%d children", n), nil
}

// memory touches n MiB.
func memory(arg string) (string, error) {
	n, err := strconv.Atoi(arg)
	if err != nil {
		return "", err
	}
	var held [][]byte
	for range n {
		b, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return "", fmt.Errorf("stopped after %d MiB: %w", len(held), err)
		}
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		held = append(held, b)
	}
	runtime.KeepAlive(held)
	return fmt.Sprintf("%d MiB", n), nil
}

// daemon leaves a process behind as daemons do: new session, second fork, signals ignored. arg is its life in seconds.
func daemon(arg string) (string, error) {
	c := exec.Command("/bin/sh", "-c", `trap "" TERM HUP INT; (setsid sh -c 'trap "" TERM HUP INT; sleep `+arg+`' </dev/null >/dev/null 2>&1 &)`)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return "left behind", c.Run()
}
