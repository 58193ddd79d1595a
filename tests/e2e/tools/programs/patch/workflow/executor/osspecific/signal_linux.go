// Package osspecific: the Linux half of argoexec's signal handling, which the published module archive lacks.
// The contract is the one of signal_darwin.go beside it.
package osspecific

import (
	"os"
	"syscall"

	"github.com/argoproj/argo-workflows/v3/util/errors"
)

// Term asks a process to end.
var Term = syscall.SIGTERM

// CanIgnoreSignal tells the signals that the runtime raises by itself and that must not be passed on.
func CanIgnoreSignal(s os.Signal) bool {
	return s == syscall.SIGCHLD || s == syscall.SIGURG
}

// Kill signals a process' group, or the process where it has none.
func Kill(pid int, s syscall.Signal) error {
	if pgid, err := syscall.Getpgid(pid); err == nil {
		return syscall.Kill(-pgid, s)
	}
	return syscall.Kill(pid, s)
}

// Setpgid makes a process the leader of a group of its own.
func Setpgid(a *syscall.SysProcAttr) {
	a.Setpgid = true
}

// Wait reaps children until the given one has ended: as process 1 of a container we also reap orphans.
func Wait(process *os.Process) error {
	pid := process.Pid
	if err := process.Release(); err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		ended, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return err
		case ended != pid:
			continue
		case status.Exited():
			return errors.NewExitErr(status.ExitStatus())
		case status.Signaled():
			return errors.NewExitErr(128 + int(status.Signal()))
		}
	}
}
