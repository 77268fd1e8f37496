package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"cordon/host/audit"
	"cordon/host/inspect"
	"cordon/host/pin"
	"cordon/host/server"
	"cordon/host/tool"
)

// What a person looks at before a server may be used, and the approval.

// Review is what a person has to look at before a server's tools may be called.
type Review struct {
	Server      string
	Digest      tool.Digest // identifies exactly what is shown
	First       bool        // no tools were approved before
	Fingerprint pin.Fingerprint
	Tools       []tool.Tool
	Prompts     []tool.Tool               // each as a tool whose arguments are texts
	Refused     []string                  // what it lists and Cordon does not offer, and why; untrusted names in it
	Findings    map[string][]tool.Finding // by tool name

	PromptFindings map[string][]tool.Finding // by prompt name
	Changes        []pin.Change              // since the pin, unless First
	Covered        []string                  // files and folders whose content is covered
	NotCovered     []string                  // what its command names besides: programs' folders, databases
	Installed      bool                      // Cordon installed it: every file of it is covered, not only those its command names
	Without        []string                  // what it was started without, see server.Limits; it gets them once it is approved
	Unlisted       error                     // why it did not name its tools without them; then only its program is approved
}

// Review returns what is to be approved now. A server whose files have become others since it was started is started
// again: what is approved is what runs. One that names no tools as long as its program is not approved is reviewed by its
// files. One that sleeps is woken. Any other has to be running.
func (h *Host) Review(ctx context.Context, name string) (Review, error) {
	if state, _, err := h.Servers.State(name); err == nil && state == server.Idle {
		if err := h.Servers.Start(ctx, name); err != nil && !h.unlisted(name) {
			return Review{}, err
		}
	}
	fp, err := h.Servers.Fingerprint(ctx, name)
	if err == nil && fp.Stale {
		if err := h.Servers.Restart(ctx, name); err != nil && !h.unlisted(name) {
			return Review{}, err
		}
		fp, err = h.Servers.Fingerprint(ctx, name)
	}
	r := Review{Server: name, Findings: map[string][]tool.Finding{}, PromptFindings: map[string][]tool.Finding{}}
	if errors.Is(err, server.ErrNotRunning) && h.unlisted(name) {
		fp, r.Unlisted, err = h.programOnly(ctx, name)
	}
	if err != nil {
		return Review{}, err
	}
	v, err := h.Servers.View(name)
	if err != nil {
		return Review{}, err
	}
	if r.Unlisted == nil {
		fp = v.Fingerprint // of the same moment as the tools
		if v.State != server.Running {
			return Review{}, fmt.Errorf("%w: %s", server.ErrNotRunning, name)
		}
		if fp.Stale {
			return Review{}, fmt.Errorf("the files of %s are being changed; review it again", name)
		}
	}
	st, err := h.Pins.Status(name, fp)
	if err != nil {
		return Review{}, fmt.Errorf("%w; if it cannot be restored, remove %s and add it again", err, name)
	}
	r.Covered, r.NotCovered = server.Coverage(v.Def)
	r.Digest, r.Fingerprint, r.Tools, r.Prompts, r.Refused = fp.Digest(), fp, v.Tools, v.Prompts, v.Refused
	if approved, _, err := h.Pins.Approved(name); err == nil && len(approved.Tools) > 0 {
		r.Changes = st.Changes
	} else {
		r.First = st.State != pin.Pinned
	}
	r.Installed = v.Def.Dir != ""
	if v.Limited {
		r.Without = server.Limits(v.Def)
	}
	for _, t := range v.Tools {
		r.Findings[t.ID.Name] = h.InspectTool(ctx, t)
	}
	for _, p := range v.Prompts {
		r.PromptFindings[p.ID.Name] = h.InspectTool(ctx, p)
	}
	return r, nil
}

// unlisted reports whether a server's last start failed while it was limited.
func (h *Host) unlisted(name string) bool {
	v, err := h.Servers.View(name)
	return err == nil && v.Limited && v.State == server.Crashed
}

// programOnly is what can be approved of a server that names no tools: its files as they are, and of what it says what was
// approved before. why is what its start ended with.
func (h *Host) programOnly(ctx context.Context, name string) (fp pin.Fingerprint, why, err error) {
	v, err := h.Servers.View(name)
	if err != nil {
		return fp, nil, err
	}
	if fp, err = h.Servers.OnDisk(ctx, name); err != nil {
		return fp, nil, err
	}
	if approved, _, err := h.Pins.Approved(name); err == nil {
		fp.Tools, fp.Prompts, fp.Instructions = approved.Tools, approved.Prompts, approved.Instructions
	}
	return fp, v.Err, nil
}

// trusted reports whether a server's command and files are those that a person approved for it.
func (h *Host) trusted(name string, program pin.Fingerprint) bool {
	approved, _, err := h.Pins.Approved(name)
	return err == nil && approved.SameProgram(program)
}

// InspectTool looks for hidden text and secrets in a tool's definition.
func (h *Host) InspectTool(ctx context.Context, t tool.Tool) []tool.Finding {
	texts, err := inspect.Leaves(t.Definition)
	if err != nil {
		return []tool.Finding{{Engine: "pipeline", Rule: "inspect.degraded", Severity: tool.Warn, Text: "The definition could not be taken apart."}}
	}
	texts = append(texts, inspect.Text{Pointer: "/name", Value: t.ID.Name})
	v := h.pipeline.Inspect(ctx, inspect.Subject{Kind: inspect.Definition, Server: t.ID.Server, Texts: texts})
	for _, d := range v.Degraded {
		v.Findings = append(v.Findings, tool.Finding{Engine: "pipeline", Rule: "inspect.degraded", Severity: tool.Warn, Text: d})
	}
	return v.Findings
}

// PinStatus tells how a running server compares with its pin, and one that sleeps as it was. One that does not run is Pinned if it
// was ever approved: what it is now shows when it starts.
func (h *Host) PinStatus(v server.View) pin.Status {
	if v.State != server.Running && v.State != server.Idle {
		_, at, err := h.Pins.Approved(v.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return pin.Status{}
		case err != nil:
			return pin.Status{State: pin.Changed, Changes: []pin.Change{{What: "pin", Kind: "changed", New: "it cannot be read"}}}
		}
		if v.Limited && (v.State == server.Crashed || v.State == server.Mute) { // so it was not what was approved when it was started last
			return pin.Status{State: pin.Changed, At: at, Changes: []pin.Change{{What: "program", Kind: "changed"}}}
		}
		return pin.Status{State: pin.Pinned, At: at}
	}
	st, err := h.Pins.Status(v.Name, v.Fingerprint)
	if err != nil {
		return pin.Status{State: pin.Changed, Changes: []pin.Change{{What: "pin", Kind: "changed", New: "it cannot be read"}}}
	}
	return st
}

// Approve pins what was shown under digest and, if it was started without something until now, starts it again with all that
// its definition gives it. It refuses if the server has changed since it was shown, or if a definition holds something that
// blocks.
func (h *Host) Approve(ctx context.Context, name string, digest tool.Digest) error {
	r, err := h.Review(ctx, name)
	if err != nil {
		return err
	}
	for n, fs := range r.Findings {
		for _, f := range fs {
			if f.Severity == tool.Block {
				return fmt.Errorf("tool %q of %s cannot be approved: %s", n, name, f.Text)
			}
		}
	}
	for n, fs := range r.PromptFindings {
		for _, f := range fs {
			if f.Severity == tool.Block {
				return fmt.Errorf("prompt %q of %s cannot be approved: %s", n, name, f.Text)
			}
		}
	}
	said := h.pipeline.Inspect(ctx, inspect.Subject{Kind: inspect.Definition, Server: name, Texts: []inspect.Text{{Pointer: "/instructions", Value: r.Fingerprint.Instructions}}})
	for _, f := range said.Findings {
		if f.Severity == tool.Block {
			return fmt.Errorf("the instructions of %s cannot be approved: %s", name, f.Text)
		}
	}
	if err := h.Pins.Approve(name, r.Fingerprint, digest); err != nil {
		return err
	}
	facts := map[string]string{"digest": r.Digest.String(), "tools": fmt.Sprint(len(r.Tools)), "prompts": fmt.Sprint(len(r.Prompts)), "files": fmt.Sprint(r.Fingerprint.Files), "binary": r.Fingerprint.BinaryPath}
	if r.Unlisted != nil {
		facts["tools"] = "not listed: the program alone was approved"
	}
	_, err = h.Append(audit.Event{Kind: audit.PinApprove, Server: name, Facts: facts})
	h.o.Changed()
	if err != nil || len(r.Without) == 0 {
		return err
	}
	if err := h.Servers.Restart(ctx, name); err != nil {
		return fmt.Errorf("%s is approved, but it did not start again: %w", name, err)
	}
	return nil
}
