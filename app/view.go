package app

// The types in this file are what the window is sent and sends, as JSON. frontend/src/lib/types.ts mirrors them field
// by field; view_test.go compares the two. Lists are never null. Times are ISO 8601 in UTC, "" when there is none.

// Failure is what bound methods reject with: a stable code, what happened, what it means, what to do.
type Failure struct {
	Code  string `json:"code"`
	What  string `json:"what"`
	Means string `json:"means"`
	Fix   string `json:"fix"`
}

// Error makes a Failure an error.
func (f *Failure) Error() string { return f.What }

// Snapshot is everything any screen can be rebuilt from.
type Snapshot struct {
	Version  string        `json:"version"`
	Started  string        `json:"started"`
	FirstRun bool          `json:"firstRun"`
	Log      LogView       `json:"log"`
	Keyring  KeyringView   `json:"keyring"`
	Checks   []Check       `json:"checks"`
	Servers  []ServerView  `json:"servers"`
	Secrets  []SecretView  `json:"secrets"`
	Rules    []RuleView    `json:"rules"`
	Prompt   *PromptView   `json:"prompt"`
	Question *QuestionView `json:"question"`
	Waiting  int           `json:"waiting"`
	Problems []Failure     `json:"problems"`
	Stopping bool          `json:"stopping"`
	Defaults DefaultsView  `json:"defaults"`
}

// DefaultsView is what the form for a new server begins with.
type DefaultsView struct {
	MemoryBytes int64 `json:"memoryBytes"`
	Pids        int   `json:"pids"`
}

// LogView is the state of the audit log.
type LogView struct {
	Events    uint64 `json:"events"`
	Intact    bool   `json:"intact"`
	CheckedAt string `json:"checkedAt"`
	Head      string `json:"head"`
	Problem   string `json:"problem"`
}

// KeyringView is the state of the keyring: ok, locked, absent or session.
type KeyringView struct {
	State    string `json:"state"`
	Provider string `json:"provider"`
	Detail   string `json:"detail"`
	Fix      string `json:"fix"`
}

// Check is one thing Cordon needs of this computer.
type Check struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Detail string `json:"detail"`
	Fix    string `json:"fix"`
}

// ServerView is one server.
type ServerView struct {
	Name        string          `json:"name"`
	Version     string          `json:"version"`
	Title       string          `json:"title"`
	Protocol    string          `json:"protocol"` // version of MCP that it speaks, or ""
	Source      string          `json:"source"`
	Command     []string        `json:"command"`
	State       string          `json:"state"`
	Since       string          `json:"since"`
	Detail      string          `json:"detail"`
	Failure     *Failure        `json:"failure"`
	Pid         int             `json:"pid"`
	Tier        string          `json:"tier"`
	Enforced    int             `json:"enforced"`
	Demanded    int             `json:"demanded"`
	Guarantees  []GuaranteeView `json:"guarantees"`
	TriedAt     string          `json:"triedAt"`
	Profile     ProfileView     `json:"profile"`
	Usage       UsageView       `json:"usage"`
	Pin         string          `json:"pin"`
	PinnedAt    string          `json:"pinnedAt"`
	PinDetail   string          `json:"pinDetail"`
	Tools       []ToolView      `json:"tools"`
	Env         []EnvView       `json:"env"`
	Without     []string        `json:"without"` // what it was started without, because nobody has approved its program
	StderrLines int             `json:"stderrLines"`
	Frames      int             `json:"frames"` // how many messages passed in its session; see Frames
	Wanted      int             `json:"wanted"` // how many things it asked for and was not granted; see Wanted
	Asks        int             `json:"asks"`   // how many of them a person has to answer, or be warned of
	Lent        []string        `json:"lent"`   // what it may touch besides its profile until it stops, in words
	Removable   bool            `json:"removable"`
	Steps       []StepView      `json:"steps"`    // what its last start came through
	Oddities    []OddityView    `json:"oddities"` // what it did against the protocol since
	Tasks       []TaskView      `json:"tasks"`    // calls that it works on without anybody waiting
	Remote      *RemoteView     `json:"remote"`   // null for a server on this computer
	Prompts     []ToolView      `json:"prompts"`  // their arguments are texts
	Reads       bool            `json:"reads"`    // it has resources; see Resources
	Icons       int             `json:"icons"`    // 0 without, else another number whenever Icons has to be asked again
	Tells       bool            `json:"tells"`    // when one of them changes; see AwaitChange
}

// StepView is one part of a start; its detail may quote the server.
type StepView struct {
	Name       string `json:"name"` // files, sandbox, identity, version, session, tools
	TookMillis int64  `json:"tookMillis"`
	Detail     string `json:"detail"`
	Failed     bool   `json:"failed"`
}

// OddityView is something that a server did against the protocol.
type OddityView struct {
	At   string `json:"at"`
	Code string `json:"code"` // stable
	Text string `json:"text"`
}

// TaskView is a call that a server works on without anybody waiting.
type TaskView struct {
	ID    string `json:"id"`
	Tool  string `json:"tool"`
	Call  string `json:"call"`
	Began string `json:"began"`
	Ends  string `json:"ends"` // or ""
}

// RemoteView is where a remote server is and how Cordon identifies itself there.
type RemoteView struct {
	URL      string   `json:"url"`
	Login    string   `json:"login"`    // "" signs in in the browser, else client-credentials, private-key-jwt, enterprise or workload
	SignedIn bool     `json:"signedIn"` //
	Issuer   string   `json:"issuer"`   // who signs in, or ""
	Scopes   []string `json:"scopes"`   // what was granted
	Wanted   []string `json:"wanted"`   // what the server wants besides, and a person has to sign in again for
	Expires  string   `json:"expires"`  // or ""
	Bound    bool     `json:"bound"`    // what proves it works on this computer only
	Open     bool     `json:"open"`     // it may serve whoever calls
	Nameless bool     `json:"nameless"` // it was left because it wants to
	Private  []string `json:"privateHosts"`
}

// ResourceView is something that a server lets be read, or a template of such things. Its text is untrusted.
type ResourceView struct {
	URI         string   `json:"uri"`
	Template    string   `json:"template"`
	Variables   []string `json:"variables"` // of the template
	Name        string   `json:"name"`
	Title       string   `json:"title"`
	Description string   `json:"description"`
	MIME        string   `json:"mime"`
	Size        int64    `json:"size"` // bytes as the server says, -1 if it does not
}

// IconView is the icon of something that a server offers, drawn by Cordon from what the server sent, as data: addresses of PNG.
type IconView struct {
	Of    string `json:"of"`    // server, tool, prompt or resource
	Name  string `json:"name"`  // of a resource, its address or template
	Light string `json:"light"` // or ""
	Dark  string `json:"dark"`  // or ""
}

// CompleteRequest asks to complete an argument of a prompt or a template.
type CompleteRequest struct {
	Server   string            `json:"server"`
	Prompt   string            `json:"prompt"`
	Template string            `json:"template"`
	Argument string            `json:"argument"`
	Value    string            `json:"value"`
	Others   map[string]string `json:"others"`
}

// CallProgress is how a call goes, in its server's words.
type CallProgress struct {
	Ticket string  `json:"ticket"`
	Server string  `json:"server"`
	Done   float64 `json:"done"`
	Total  float64 `json:"total"` // 0 if it is not known
	Text   string  `json:"text"`
}

// NewRemote is what the form for a remote server sends. It must not be logged.
type NewRemote struct {
	Name     string   `json:"name"`
	URL      string   `json:"url"`
	Private  []string `json:"privateHosts"` // HOST:PORT in private networks that it may lead to
	Header   string   `json:"header"`       // that the key is sent in, or ""
	Key      string   `json:"key"`
	Login    string   `json:"login"`
	ClientID string   `json:"clientId"`
	Secret   string   `json:"secret"` // of the client, a key or an assertion, by Login
	Issuer   string   `json:"issuer"`
	Scopes   []string `json:"scopes"`

	IdPTokenEndpoint string `json:"idpTokenEndpoint"` // of the company's identity provider, if that vouches
	IdPClientID      string `json:"idpClientId"`
	IdPToken         string `json:"idpToken"` // the ID token
}

// GuaranteeView is one protection and how it is known to hold.
type GuaranteeView struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Detail string `json:"detail"`
}

// ProfileView is what a server is granted.
type ProfileView struct {
	Read        []string `json:"read"`
	Write       []string `json:"write"`
	Net         string   `json:"net"`
	Hosts       []string `json:"hosts"`        // with Net "hosts"
	Private     []string `json:"privateHosts"` // the same, in private networks
	Reach       []uint16 `json:"reach"`        // ports of this computer's loopback
	Serve       []uint16 `json:"serve"`        // ports that programs of this computer may call
	MemoryBytes int64    `json:"memoryBytes"`
	Pids        int      `json:"pids"`
	IdleSeconds int64    `json:"idleSeconds"` // without a call for so long it sleeps; 0 is never
	CPU         float64  `json:"cpu"`         // cores; 0 is no limit
	Preset      string   `json:"preset"`      // or ""
	Demand      []string `json:"demand"`      // guarantees without which it does not start, besides those that every server demands
	Observe     bool     `json:"observe"`     // what it asks for and is not granted is noted
	Never       []string `json:"never"`       // what it is not to ask for again
}

// WantedView is what a server asked for and was not granted. Its text can hold the program's own.
type WantedView struct {
	Asked    []AskedView `json:"asked"`
	Left     []LeftView  `json:"left"`
	Cautions []string    `json:"cautions"`
}

// AskedView is one thing that could be granted.
type AskedView struct {
	Does  string `json:"does"`  // reads, changes, runs, talks to, calls
	What  string `json:"what"`  // for people
	Grant string `json:"grant"` // what AnswerWanted takes
	Times int    `json:"times"`
}

// LeftView is one thing that no answer grants.
type LeftView struct {
	Does    string `json:"does"`
	What    string `json:"what"`
	Why     string `json:"why"`
	Warning bool   `json:"warning"` // keys, passwords, histories
}

// WantedAnswer is what a person answers to one thing that a server asked for.
type WantedAnswer struct {
	Server string `json:"server"`
	Does   string `json:"does"`
	Grant  string `json:"grant"`
	Answer string `json:"answer"` // once, always, never; or again, which ends a never
}

// UsageView is what a server's processes use now.
type UsageView struct {
	MemoryBytes int64  `json:"memoryBytes"`
	MemoryMax   int64  `json:"memoryMax"`
	Tasks       int    `json:"tasks"`
	TasksMax    int    `json:"tasksMax"`
	CPUMillis   int64  `json:"cpuMillis"`
	MemoryWaits int    `json:"memoryWaits"` // percent of the last 10 s in which a task waited for memory
	CPUWaits    int    `json:"cpuWaits"`    // the same for a processor
	Source      string `json:"source"`      // "" when nothing is measured
}

// ToolView is one tool as its server describes it; all text in it is untrusted.
type ToolView struct {
	Name        string        `json:"name"`
	Title       string        `json:"title"`
	Description string        `json:"description"`
	Effect      string        `json:"effect"`
	EffectBy    string        `json:"effectBy"`
	Schema      string        `json:"schema"`
	Pin         string        `json:"pin"`
	Findings    []FindingView `json:"findings"`
	CallsToday  int           `json:"callsToday"`
}

// EnvView is one environment variable of a server: a plain value or the name of a secret.
type EnvView struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Secret string `json:"secret"`
}

// FindingView is one thing an inspection noticed.
type FindingView struct {
	Engine   string `json:"engine"`
	Rule     string `json:"rule"`
	Severity string `json:"severity"`
	Where    string `json:"where"`
	Text     string `json:"text"`
}

// LogLine is one line of a server's standard error.
type LogLine struct {
	Time string `json:"time"`
	Text string `json:"text"`
}

// FrameView is one message of a server's session. Its text is untrusted.
type FrameView struct {
	At     string `json:"at"`
	Out    bool   `json:"out"` // from Cordon to the server
	ID     string `json:"id"`
	Method string `json:"method"`
	Answer bool   `json:"answer"`
	Failed bool   `json:"failed"`
	Size   int    `json:"size"` // bytes
	Text   string `json:"text"`
	Cut    bool   `json:"cut"` // the text is not all of it
}

// ReviewView is what a person sees before approving a server.
type ReviewView struct {
	Server  string       `json:"server"`
	Digest  string       `json:"digest"`
	First   bool         `json:"first"`
	Command []string     `json:"command"`
	Binary  string       `json:"binary"`
	Files   int          `json:"files"`
	Tools   []ToolView   `json:"tools"`
	Prompts []ToolView   `json:"prompts"`
	Changes []ChangeView `json:"changes"`

	Refused      []string `json:"refused"`      // what the server lists and Cordon does not offer, and why
	Instructions string   `json:"instructions"` // the server's own, untrusted
	Without      []string `json:"without"`      // what it was started without until it is approved
	Unlisted     string   `json:"unlisted"`     // why it named no tools without them, or empty
	Covered      []string `json:"covered"`      // files and folders whose content is covered
	NotCovered   []string `json:"notCovered"`   // what its command names besides
	Installed    bool     `json:"installed"`    // every file it consists of is covered, not only those that its command names
}

// ChangeView is one part that differs from the pin.
type ChangeView struct {
	What  string     `json:"what"`
	Kind  string     `json:"kind"`
	Lines []DiffLine `json:"lines"`
}

// DiffLine is one line of a difference.
type DiffLine struct {
	Sign string `json:"sign"`
	Old  int    `json:"old"`
	New  int    `json:"new"`
	Text string `json:"text"`
}

// QuestionView is what a server asks a person in the middle of a call. All text in it is the server's.
type QuestionView struct {
	Ticket   string      `json:"ticket"`
	Server   string      `json:"server"`
	Kind     string      `json:"kind"` // form or url
	Message  string      `json:"message"`
	Intro    string      `json:"intro"` // Cordon's own words, or ""
	Yes      string      `json:"yes"`   // what yes is called, or ""
	Fields   []FieldView `json:"fields"`
	URL      string      `json:"url"`
	Host     string      `json:"host"`
	Deadline string      `json:"deadline"`
	Waiting  int         `json:"waiting"` // questions behind it
	SignIn   bool        `json:"signIn"`  // Cordon asks, to open the page on which one signs in
}

// FieldView is one field of a form.
type FieldView struct {
	Name        string       `json:"name"`
	Title       string       `json:"title"`
	Description string       `json:"description"`
	Type        string       `json:"type"` // text, number, integer, boolean, choice, choices
	Required    bool         `json:"required"`
	Format      string       `json:"format"`
	Options     []OptionView `json:"options"`
	Default     string       `json:"default"` // JSON, or ""
}

// OptionView is one thing to choose.
type OptionView struct {
	Value string `json:"value"`
	Title string `json:"title"`
}

// QuestionAnswer is a person's answer.
type QuestionAnswer struct {
	Ticket string            `json:"ticket"`
	Action string            `json:"action"` // accept, decline, cancel
	Values map[string]string `json:"values"` // JSON by field
}

// PromptView is one consent request.
type PromptView struct {
	ID            string        `json:"id"`
	Digest        string        `json:"digest"`
	Practice      bool          `json:"practice"`
	Question      string        `json:"question"`
	Consequence   string        `json:"consequence"`
	Level         int           `json:"level"`
	Target        string        `json:"target"`
	Effect        string        `json:"effect"`
	Server        string        `json:"server"`
	ServerVersion string        `json:"serverVersion"`
	Tool          string        `json:"tool"`
	Tier          string        `json:"tier"`
	Enforced      int           `json:"enforced"`
	Demanded      int           `json:"demanded"`
	Pin           string        `json:"pin"`
	AskedBy       string        `json:"askedBy"`
	AskedDetail   string        `json:"askedDetail"`
	Args          []ArgView     `json:"args"`
	Exact         string        `json:"exact"`
	Findings      []FindingView `json:"findings"`
	Leaves        string        `json:"leaves"`
	LeavesDetail  string        `json:"leavesDetail"`
	Undo          string        `json:"undo"`
	UndoDetail    string        `json:"undoDetail"`
	Rule          string        `json:"rule"`
	Reason        string        `json:"reason"`
	Also          []RuleView    `json:"also"`
	Preview       *PreviewView  `json:"preview"`
	AllowLabel    string        `json:"allowLabel"`
	Opened        string        `json:"opened"`
	Deadline      string        `json:"deadline"`
	ArmMillis     int64         `json:"armMillis"`
}

// ArgView is one argument value with its provenance.
type ArgView struct {
	Pointer string     `json:"pointer"`
	Kind    string     `json:"kind"`
	Value   string     `json:"value"`
	Origin  string     `json:"origin"`
	Detail  string     `json:"detail"`
	Spans   []SpanView `json:"spans"`
	Note    string     `json:"note"`
}

// SpanView marks a quoted part of a value, in UTF-16 units.
type SpanView struct {
	Start  int    `json:"start"`
	End    int    `json:"end"`
	Origin string `json:"origin"`
	Detail string `json:"detail"`
}

// PreviewView is what a file will look like.
type PreviewView struct {
	Path    string     `json:"path"`
	Exists  bool       `json:"exists"`
	Added   int        `json:"added"`
	Removed int        `json:"removed"`
	Lines   []DiffLine `json:"lines"`
}

// RuleView is one policy rule.
type RuleView struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
	Then   string `json:"then"`
}

// Answer is a person's answer to a prompt.
type Answer struct {
	ID     string `json:"id"`
	Digest string `json:"digest"`
	Allow  bool   `json:"allow"`
	Typed  string `json:"typed"`
}

// CallRequest asks for one tool call. Ticket is the page's own name for it, to cancel it by.
type CallRequest struct {
	Ticket string `json:"ticket"`
	Server string `json:"server"`
	Kind   string `json:"kind"` // tool, resource or prompt
	Tool   string `json:"tool"` // its name, or a resource's address
	Args   string `json:"args"` // "" of a resource
}

// CallView is how a call ended.
type CallView struct {
	Ticket     string        `json:"ticket"`
	CallID     string        `json:"callId"`
	Event      uint64        `json:"event"`
	Outcome    string        `json:"outcome"`
	Stage      string        `json:"stage"`
	Rule       string        `json:"rule"`
	Reason     string        `json:"reason"`
	Failure    *Failure      `json:"failure"`
	Content    []ContentView `json:"content"`
	Structured string        `json:"structured"`
	Findings   []FindingView `json:"findings"`
	Number     int           `json:"number"`
	TookMillis int64         `json:"tookMillis"`
	At         string        `json:"at"`
	Changes    []ChangeView  `json:"changes"`
}

// ContentView is one block of a result.
type ContentView struct {
	Type    string `json:"type"`
	Text    string `json:"text"`
	MIME    string `json:"mime"`
	DataURL string `json:"dataUrl"`
	URI     string `json:"uri"`
	Bytes   int    `json:"bytes"`
	Role    string `json:"role"` // of a prompt's message: user or assistant
}

// NewServer is what the form for a new server sends.
type NewServer struct {
	Name        string    `json:"name"`
	Package     string    `json:"package"` // as catalog.ParsePackage reads it; "" for a command
	Scripts     bool      `json:"scripts"` // let the package's install scripts run
	Command     []string  `json:"command"`
	Read        []string  `json:"read"`
	Write       []string  `json:"write"`
	Net         string    `json:"net"`
	Hosts       []string  `json:"hosts"`
	Private     []string  `json:"privateHosts"`
	Reach       []uint16  `json:"reach"`
	Serve       []uint16  `json:"serve"`
	MemoryBytes int64     `json:"memoryBytes"`
	Pids        int       `json:"pids"`
	Env         []EnvView `json:"env"` // plain values only
}

// NewSecret is what the form for a secret sends. It must not be logged.
type NewSecret struct {
	Name   string `json:"name"`
	Server string `json:"server"`
	Env    string `json:"env"`
	Value  string `json:"value"`
}

// SecretView is a secret by name.
type SecretView struct {
	Name     string `json:"name"`
	Server   string `json:"server"`
	Env      string `json:"env"`
	Added    string `json:"added"`
	LastUsed string `json:"lastUsed"`
	Held     string `json:"held"`
}

// EventQuery selects events.
type EventQuery struct {
	Text     string `json:"text"`
	Server   string `json:"server"`
	Decision string `json:"decision"`
	Before   uint64 `json:"before"`
	Limit    int    `json:"limit"`
}

// EventPage answers an EventQuery, newest first.
type EventPage struct {
	Events  []EventView `json:"events"`
	Total   uint64      `json:"total"`
	Matched int         `json:"matched"`
	Asked   int         `json:"asked"`
	Denied  int         `json:"denied"`
}

// EventView is one event as lists show it.
type EventView struct {
	Seq        uint64 `json:"seq"`
	Time       string `json:"time"`
	Kind       string `json:"kind"`
	Title      string `json:"title"`
	Server     string `json:"server"`
	Tool       string `json:"tool"`
	Effect     string `json:"effect"`
	Decision   string `json:"decision"`
	Rule       string `json:"rule"`
	TookMillis int64  `json:"tookMillis"`
	CallID     string `json:"callId"`
}

// StoryView is one event's whole story.
type StoryView struct {
	Event    EventView   `json:"event"`
	Summary  string      `json:"summary"`
	Stages   []StageView `json:"stages"`
	Facts    []FactView  `json:"facts"`
	Hash     string      `json:"hash"`
	Previous string      `json:"previous"`
	Matches  bool        `json:"matches"`
	Trace    string      `json:"trace"`
	Related  []EventView `json:"related"`
	Record   string      `json:"record"`
}

// StageView is one of the ten stages of a call.
type StageView struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Detail string `json:"detail"`
	Micros int64  `json:"micros"`
}

// FactView is one name and value.
type FactView struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// AttemptView is one forbidden act without and with the sandbox.
type AttemptView struct {
	Act      string `json:"act"`
	Detail   string `json:"detail"`
	Bare     string `json:"bare"`
	Confined string `json:"confined"`
	Held     bool   `json:"held"`
}

// TrySandboxView is the result of "watch a sandbox hold".
type TrySandboxView struct {
	Attempts   []AttemptView `json:"attempts"`
	Tier       string        `json:"tier"`
	Enforced   int           `json:"enforced"`
	Demanded   int           `json:"demanded"`
	TookMillis int64         `json:"tookMillis"`
}

// Progress tells of long work.
type Progress struct {
	ID      string   `json:"id"`
	Text    string   `json:"text"`
	Step    int      `json:"step"`
	Steps   int      `json:"steps"`
	Done    bool     `json:"done"`
	Failure *Failure `json:"failure"`
}
