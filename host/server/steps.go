package server

import (
	"time"

	"cordon/host/wire"
)

// What the last start of a server came through and how long each part took: what a person looks at when it does not work.

// Step is one part of a start. The last one may have failed.
type Step struct {
	Name   StepName
	Took   time.Duration
	Detail string // in words; may quote the server
	Failed bool
}

// StepName names a part.
type StepName string

// The parts, in their order.
const (
	StepFiles    StepName = "files"    // what runs was looked at
	StepSandbox  StepName = "sandbox"  // its program was started, confined
	StepIdentity StepName = "identity" // how Cordon identifies itself to a remote server
	StepVersion  StepName = "version"  // which version of the protocol it speaks
	StepSession  StepName = "session"  // it said who it is
	StepTools    StepName = "tools"    // it listed what it offers
)

// Oddity is something that a server did against the protocol. Codes are stable.
type Oddity struct {
	At   time.Time
	Code wire.Code
	Text string
}

// maxOddities are kept of a session, the first ones: what follows is mostly more of the same.
const maxOddities = 50

// begins forgets the steps of the last start.
func (u *unit) begins() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.steps, u.stepped = nil, time.Now()
}

// step notes that a part of a start is done.
func (u *unit) step(name StepName, detail string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	u.steps, u.stepped = append(u.steps, Step{Name: name, Took: now.Sub(u.stepped), Detail: detail}), now
}

// fails notes that the part after the last one failed.
func (u *unit) fails(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	next := StepFiles
	if u.def.Remote() {
		next = StepIdentity
	}
	if n := len(u.steps); n > 0 {
		if u.steps[n-1].Failed {
			return
		}
		next = map[StepName]StepName{StepFiles: StepSandbox, StepSandbox: StepVersion, StepIdentity: StepVersion, StepVersion: StepSession, StepSession: StepTools}[u.steps[n-1].Name]
	}
	if next == "" {
		return // it had started
	}
	now := time.Now()
	u.steps, u.stepped = append(u.steps, Step{Name: next, Took: now.Sub(u.stepped), Detail: err.Error(), Failed: true}), now
}

// odd notes a finding of the guard's.
func (u *unit) odd(code wire.Code, text string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.oddities) < maxOddities {
		u.oddities = append(u.oddities, Oddity{time.Now().UTC(), code, text})
	}
}
