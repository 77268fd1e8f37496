// Command landlocked runs a program under file system rules of Landlock and nothing else, for comparison: the system's
// programs and the folders named by -r can be read, those named by -w also written.
package main

import (
	"fmt"
	"os"
	"syscall"

	"github.com/landlock-lsm/go-landlock/landlock"
)

func main() {
	rules := []landlock.Rule{landlock.RODirs("/usr", "/etc", "/proc", "/dev").IgnoreIfMissing(), landlock.RODirs("/bin", "/lib", "/lib64").IgnoreIfMissing(), landlock.RWFiles("/dev/null")}
	args := os.Args[1:]
	for ; len(args) > 1 && (args[0] == "-r" || args[0] == "-w"); args = args[2:] {
		st, err := os.Stat(args[1])
		switch {
		case err != nil:
			fail(err)
		case args[0] == "-w":
			rules = append(rules, landlock.RWDirs(args[1]))
		case st.IsDir():
			rules = append(rules, landlock.RODirs(args[1]))
		default:
			rules = append(rules, landlock.ROFiles(args[1]))
		}
	}
	if err := landlock.V5.RestrictPaths(rules...); err != nil {
		fail(err)
	}
	fail(syscall.Exec(args[0], args, os.Environ()))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(125)
}
