package app

// What the chat is sent, and sends. See view.go.

// ChatRow is a conversation in the list.
type ChatRow struct {
	ID       string `json:"id"`
	Title    string `json:"title"`
	CaseID   string `json:"caseId"` // "" without a case
	CaseName string `json:"caseName"`
	Pinned   bool   `json:"pinned"`
	Changed  string `json:"changed"`
	Phase    string `json:"phase"`   // "" when nothing is under way, else as LiveView
	Snippet  string `json:"snippet"` // of a search: the place found, else ""
}

// ChatQuery searches conversations; the empty one lists all, pinned ones first, then the last changed.
type ChatQuery struct {
	Text   string `json:"text"`
	CaseID string `json:"caseId"` // "" for all
}

// ChatView is one conversation. Its newest entries are given; OlderEntries gives more.
type ChatView struct {
	ID      string       `json:"id"`
	Title   string       `json:"title"`
	CaseID  string       `json:"caseId"`
	Pinned  bool         `json:"pinned"`
	Scope   string       `json:"scope"` // what calls may do, whatever its case says: "" as the rules say, read (nothing else), ask (before each)
	Model   string       `json:"model"` // as in ModelView; "" if none is chosen or it is gone
	Local   bool         `json:"local"` // that model runs on this computer
	Servers []ChatServer `json:"servers"`
	Entries []EntryView  `json:"entries"` // oldest first
	More    bool         `json:"more"`    // there are older ones
	Live    *LiveView    `json:"live"`    // null when nothing is under way
	Left    ChatLeft     `json:"left"`
	Results int          `json:"results"` // of tools that it has read
	Outside bool         `json:"outside"` // it has read outside text, attached files included
	Budget  BudgetView   `json:"budget"`
}

// ChatServer is a server whose tools may be offered to the model.
type ChatServer struct {
	Name   string `json:"name"`
	On     bool   `json:"on"`
	Tools  int    `json:"tools"`
	Tokens int    `json:"tokens"` // about, of its tools' definitions
	State  string `json:"state"`
	Pin    string `json:"pin"`
}

// ChatLeft is what left this computer for models elsewhere.
type ChatLeft struct {
	Requests int      `json:"requests"`
	Bytes    int64    `json:"bytes"`
	Places   []string `json:"places"` // host names
}

// BudgetView is what the conversation has used.
type BudgetView struct {
	Context int     `json:"context"` // tokens that the model can read, 0 if that is not known
	Used    int     `json:"used"`    // tokens of it, by the last request
	Dollars float64 `json:"dollars"`
	Priced  bool    `json:"priced"` // the model has prices; else Dollars means nothing
}

// EntryView is one thing in a conversation. Kind says which fields count.
type EntryView struct {
	Seq         int64            `json:"seq"`
	Turn        int64            `json:"turn"` // seq of the question that it belongs to
	Kind        string           `json:"kind"` // question, answer, outcome, end
	At          string           `json:"at"`
	Text        string           `json:"text"`        // of a question; of an answer, Markdown, untrusted
	Attachments []AttachmentView `json:"attachments"` // of a question
	Versions    []int64          `json:"versions"`    // of a question or answer: those that stand in its place, itself included; empty if it is the only one
	Reasoning   string           `json:"reasoning"`   // of an answer
	Model       string           `json:"model"`       // of an answer
	Local       bool             `json:"local"`
	Sent        *SentView        `json:"sent"`  // of an answer: what it was asked with
	Usage       UsedView         `json:"usage"` // of an answer
	Stop        string           `json:"stop"`  // of an answer: end, calls, length, refused; "" if it broke off
	FirstMillis int64            `json:"firstMillis"`
	TookMillis  int64            `json:"tookMillis"`
	Calls       []ProposedView   `json:"calls"` // of an answer: what it wants called
	Outcome     *OutcomeView     `json:"outcome"`
	End         *EndView         `json:"end"`
}

// AttachmentView is a file or a resource that goes with a question.
type AttachmentView struct {
	Name  string `json:"name"`
	From  string `json:"from"` // "you", or a server
	Bytes int    `json:"bytes"`
	Image bool   `json:"image"` // Bound.AttachedImage has it
}

// SentView is a request to a model.
type SentView struct {
	Place    string `json:"place"` // "this computer", or a host name
	Messages int    `json:"messages"`
	Tools    int    `json:"tools"`
	Held     int    `json:"held"`   // tools that were not told of
	Barred   int    `json:"barred"` // tools that were not told of because it may only read
	Tokens   int    `json:"tokens"` // about
	Cut      int    `json:"cut"`    // results that it was given in short, to save room
	Unseen   int    `json:"unseen"` // images that it was not given
	Why      string `json:"why"`    // it was not
}

// UsedView is what an answer took.
type UsedView struct {
	Input   int     `json:"input"`
	Cached  int     `json:"cached"`
	Output  int     `json:"output"`
	Dollars float64 `json:"dollars"`
}

// ProposedView is a call that a model wants.
type ProposedView struct {
	ID     string `json:"id"`
	Server string `json:"server"` // "" for one of Cordon's own, or one that does not exist
	Tool   string `json:"tool"`
	Args   string `json:"args"` // JSON, or whatever the model wrote
}

// OutcomeView is how a call ended.
type OutcomeView struct {
	ID         string        `json:"id"` // as ProposedView
	Server     string        `json:"server"`
	Tool       string        `json:"tool"`
	Effect     string        `json:"effect"`
	State      string        `json:"state"` // ok, tool-error, denied, failed, cancelled, refused (it did not get as far as the gate)
	Asked      bool          `json:"asked"` // a person was
	Stage      string        `json:"stage"` // of the gate, where it was denied
	Rule       string        `json:"rule"`
	Reason     string        `json:"reason"`
	CallID     string        `json:"callId"`
	Event      uint64        `json:"event"`  // in the log, 0 if there is none
	Number     int           `json:"number"` // that answers cite, 0 if there is nothing to cite
	TookMillis int64         `json:"tookMillis"`
	Args       string        `json:"args"`
	Summary    string        `json:"summary"` // one line
	Content    []ContentView `json:"content"`
	Structured string        `json:"structured"`
	Findings   []FindingView `json:"findings"`
	Bytes      int           `json:"bytes"`
	Cut        bool          `json:"cut"` // Content is only its beginning; Evidence has all
}

// EndView is how a turn ended.
type EndView struct {
	Why     string   `json:"why"` // done, stopped, failed, limit, refused
	Reason  string   `json:"reason"`
	Failure *Failure `json:"failure"`
}

// LiveView is what is under way in a conversation.
type LiveView struct {
	Rev     uint64        `json:"rev"`
	Phase   string        `json:"phase"` // asking (the model), retrying, calling, waiting (for a person)
	Since   string        `json:"since"`
	Model   string        `json:"model"`
	Parts   []LivePart    `json:"parts"`   // of the answer, as far as it came
	Running []RunningView `json:"running"` // calls
	Retry   string        `json:"retry"`   // why the model is asked again, "" if it is not
	Sent    *SentView     `json:"sent"`    // what it is asked with, null before that is known
}

// LivePart is a piece of an answer that is coming: text, reasoning or a call.
type LivePart struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
	Name string `json:"name"`
}

// RunningView is a call that is under way.
type RunningView struct {
	ID     string `json:"id"`
	Server string `json:"server"`
	Tool   string `json:"tool"`
	Effect string `json:"effect"`
	State  string `json:"state"` // next, waiting (for a person), running
}

// ChatPush says what has changed in a conversation: an entry that was added, text that continues a part of the answer that is coming, or all of what
// is under way. Pushes come in order.
type ChatPush struct {
	ID    string     `json:"id"`
	Rev   uint64     `json:"rev"` // grows; what LiveView.Rev says is in it need not be added again
	Entry *EntryView `json:"entry"`
	Index int        `json:"index"` // of the part in LiveView.Parts
	Part  *LivePart  `json:"part"`  // Text is to be added to that part; a new index begins one
	Live  *LiveView  `json:"live"`
	Idle  bool       `json:"idle"` // nothing is under way any more
}

// NewChat begins a conversation.
type NewChat struct {
	CaseID string `json:"caseId"`
	Model  string `json:"model"` // "" for the one used last that the case allows
	Like   string `json:"like"`  // the conversation whose scope and servers it has, "" for none
}

// Ask is a question.
type Ask struct {
	ID       string       `json:"id"`
	Text     string       `json:"text"`
	Replaces int64        `json:"replaces"` // seq of the question that it is an edited version of, or 0
	Attach   []Attachment `json:"attach"`
}

// Attachment is a file's text or an image that goes with a question, or a resource that a server has.
type Attachment struct {
	Name   string `json:"name"`
	Text   string `json:"text"`
	Image  []byte `json:"image"`  // PNG or JPEG, in base64; empty for text
	Server string `json:"server"` // "" for a file; else URI is read through the gate first
	URI    string `json:"uri"`
}

// ChatChange changes what a conversation is: only the field that What names counts.
type ChatChange struct {
	ID   string `json:"id"`
	What string `json:"what"` // title, pinned, model, server, case, scope
	Text string `json:"text"` // title, model, server's name, case's id, scope
	On   bool   `json:"on"`   // pinned; server
}

// CaseView groups conversations.
type CaseView struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Marking   string     `json:"marking"` // of the Traffic Light Protocol: "", clear, green, amber, amber+strict, red
	Notes     string     `json:"notes"`
	Folder    string     `json:"folder"`  // where its files are, "" for none
	Servers   []string   `json:"servers"` // whose tools may be offered; empty for all
	Models    []string   `json:"models"`  // that may be asked; empty for all
	LocalOnly bool       `json:"localOnly"`
	Redact    []string   `json:"redact"` // words that no model gets
	Scope     string     `json:"scope"`  // as ChatView
	Limits    CaseLimits `json:"limits"`
}

// CaseLimits bound one question; 0 is the usual limit, or none for dollars.
type CaseLimits struct {
	Requests int     `json:"requests"`
	Calls    int     `json:"calls"`
	Tokens   int     `json:"tokens"`
	Dollars  float64 `json:"dollars"`
	Minutes  int     `json:"minutes"`
}

// FolderAccess is what a server may do with a folder.
type FolderAccess struct {
	Server  string `json:"server"`
	Folder  string `json:"folder"`
	Access  string `json:"access"`  // none, read, write
	Real    string `json:"real"`    // what the folder is once links are followed; this is granted
	Through string `json:"through"` // the folder above it that is granted, "" for none; only Servers can change that
	Parts   bool   `json:"parts"`   // something below it is granted besides
}
