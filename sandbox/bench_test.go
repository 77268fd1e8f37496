package sandbox

import (
	"context"
	"os"
	"os/exec"
	"testing"
)

func BenchmarkStart(b *testing.B) {
	s := &Sandbox{Kernel: Probe(), Launcher: os.Getenv("LAUNCH")}
	for b.Loop() {
		p, err := s.Start(context.Background(), Profile{}, Command{Argv: []string{"/bin/true"}}, Files{})
		if err != nil {
			b.Fatal(err)
		}
		p.Wait()
	}
}
func BenchmarkBare(b *testing.B) {
	for b.Loop() {
		exec.Command("/bin/true").Run()
	}
}
func BenchmarkLauncherBoot(b *testing.B) {
	for b.Loop() {
		exec.Command(os.Getenv("LAUNCH")).Run()
	}
}
func BenchmarkBwrap(b *testing.B) {
	for b.Loop() {
		exec.Command("bwrap", "--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "/bin/true").Run()
	}
}
