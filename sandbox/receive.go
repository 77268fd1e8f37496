package sandbox

import (
	"errors"
	"fmt"
	"os"

	"cordon/sandbox/spec"

	"golang.org/x/sys/unix"
)

// What init sends over the socket pair.

// receiveFiles takes n descriptors that init sent with one byte.
func receiveFiles(from *os.File, n int) ([]*os.File, error) {
	var body [4]byte
	k, fds, err := receive(from, body[:])
	if err == nil && (k != 1 || len(fds) != n) {
		err = errors.New("the message is not one of descriptors")
	}
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "from the sandbox")
	}
	if err != nil {
		closeAll(files)
		return nil, fmt.Errorf("receive from the sandbox: %w", err)
	}
	return files, nil
}

// receive reads one message: its bytes, and descriptors, which the caller closes.
func receive(from *os.File, body []byte) (n int, fds []int, err error) {
	conn, err := from.SyscallConn()
	if err != nil {
		return 0, nil, err
	}
	var oobn int
	oob := make([]byte, unix.CmsgSpace(4*spec.MaxListen))
	var failed error
	if err := conn.Read(func(fd uintptr) bool {
		n, oobn, _, _, failed = unix.Recvmsg(int(fd), body, oob, unix.MSG_CMSG_CLOEXEC)
		return failed != unix.EAGAIN && failed != unix.EINTR
	}); err != nil {
		return 0, nil, err
	}
	if failed != nil {
		return 0, nil, failed
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return 0, nil, err
	}
	for i := range messages {
		got, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return n, fds, err
		}
		fds = append(fds, got...)
	}
	return n, fds, nil
}
