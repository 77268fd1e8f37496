// What the host sends and takes, as JSON. Each interface mirrors the Go struct of the same name in app/;
// a test there compares the field names, so the two cannot drift apart. Times are ISO 8601 in UTC.

export type Effect = 'unknown' | 'read' | 'costly' | 'disclose' | 'write' | 'high' | 'irreversible'
export type Origin = 'you' | 'model' | 'outside' | 'default' | 'secret'
export type ServerState = 'stopped' | 'starting' | 'running' | 'degraded' | 'quarantined' | 'refused' | 'crashed' | 'idle' | 'not answering' | 'sign-in needed'
export type Tier = 'strong' | 'medium' | 'weakened' | 'refused' | 'remote' | ''
export type PinState = 'new' | 'pinned' | 'changed'
export type CheckState = 'ok' | 'degraded' | 'missing'
export type KeyringState = 'ok' | 'locked' | 'absent' | 'session'

/** What bound methods reject with. `code` is stable (CRD-…), `what` happened, what it `means`, what to do (`fix`). */
export interface Failure { code: string; what: string; means: string; fix: string }

/** Everything any screen can be rebuilt from. Pushed whole as event "snapshot", at most 20 times a second. */
export interface Snapshot {
  version: string
  started: string
  firstRun: boolean
  log: LogView
  keyring: KeyringView
  checks: Check[]
  servers: ServerView[]
  secrets: SecretView[]
  rules: RuleView[]
  prompt: PromptView | null
  question: QuestionView | null
  waiting: number
  problems: Failure[]
  stopping: boolean
  defaults: DefaultsView
}

export interface DefaultsView { memoryBytes: number; pids: number }

export interface LogView { events: number; intact: boolean; checkedAt: string; head: string; problem: string }
export interface KeyringView { state: KeyringState; provider: string; detail: string; fix: string }
export interface Check { name: string; state: CheckState; detail: string; fix: string }

export interface ServerView {
  name: string
  version: string
  title: string
  /** The version of MCP that it speaks, or "". */
  protocol: string
  source: string
  command: string[]
  state: ServerState
  since: string
  detail: string
  failure: Failure | null
  pid: number
  tier: Tier
  enforced: number
  demanded: number
  guarantees: GuaranteeView[]
  triedAt: string
  profile: ProfileView
  usage: UsageView
  pin: PinState
  pinnedAt: string
  pinDetail: string
  tools: ToolView[]
  env: EnvView[]
  /** What it was started without, because nobody has approved its program: "its secrets", "its hosts", "writing". */
  without: string[]
  stderrLines: number
  /** How many messages passed in its session; Bound.Frames has the last of them. */
  frames: number
  /** How many things it asked for and was not granted; Bound.Wanted has them. */
  wanted: number
  /** How many of them a person has to answer, or be warned of. */
  asks: number
  /** What it may touch besides its profile until it stops, in words. */
  lent: string[]
  removable: boolean
  /** What its last start came through. */
  steps: StepView[]
  /** What it did against the protocol since. */
  oddities: OddityView[]
  /** Calls that it works on without anybody waiting. */
  tasks: TaskView[]
  /** null for a server on this computer. */
  remote: RemoteView | null
  /** Their arguments are texts. */
  prompts: ToolView[]
  /** It has resources; Bound.Resources lists them. */
  reads: boolean
  icons: number
  tells: boolean
}

/** One protection: `state` says whether it holds; `detail` is what was tried and how it ended. */
export interface GuaranteeView { name: string; state: 'enforced' | 'missing' | 'not demanded'; detail: string }
export interface ProfileView { read: string[]; write: string[]; net: string; hosts: string[]; privateHosts: string[]; reach: number[]; serve: number[]; memoryBytes: number; pids: number; idleSeconds: number; cpu: number; preset: string; demand: string[]; observe: boolean; never: string[] }
/** One message of a server's session; its text is untrusted, and not all of it if it is cut. */
export interface FrameView { at: string; out: boolean; id: string; method: string; answer: boolean; failed: boolean; size: number; text: string; cut: boolean }
/** What a server asks the person in the middle of a call; all text in it is the server's. `default` is JSON or "". */
export interface QuestionView { ticket: string; server: string; kind: 'form' | 'url'; message: string; intro: string; yes: string; fields: FieldView[]; url: string; host: string; deadline: string; waiting: number; signIn: boolean }
export interface FieldView { name: string; title: string; description: string; type: 'text' | 'number' | 'integer' | 'boolean' | 'choice' | 'choices'; required: boolean; format: string; options: OptionView[]; default: string }
export interface OptionView { value: string; title: string }
/** `values` holds JSON by field. */
export interface QuestionAnswer { ticket: string; action: 'accept' | 'decline' | 'cancel'; values: Record<string, string> }
/** What a server asked for and is not granted; all text in it may be the program's own. */
export interface WantedView { asked: AskedView[]; left: LeftView[]; cautions: string[] }
export interface AskedView { does: string; what: string; grant: string; times: number }
/** What no answer grants, and why; a warning is about keys, passwords and the like. */
export interface LeftView { does: string; what: string; why: string; warning: boolean }
/** "again" ends a "never". */
export interface WantedAnswer { server: string; does: string; grant: string; answer: 'once' | 'always' | 'never' | 'again' }
export interface UsageView { memoryBytes: number; memoryMax: number; tasks: number; tasksMax: number; cpuMillis: number; memoryWaits: number; cpuWaits: number; source: string }
export interface ToolView {
  name: string
  title: string
  description: string
  effect: Effect
  effectBy: string
  schema: string
  pin: PinState
  findings: FindingView[]
  callsToday: number
}
export interface EnvView { name: string; value: string; secret: string }
export interface FindingView { engine: string; rule: string; severity: 'info' | 'warn' | 'block'; where: string; text: string }
export interface LogLine { time: string; text: string }

/** What a person sees before approving a server: all tools, or what changed since the pin. */
export interface ReviewView {
  server: string
  digest: string
  first: boolean
  command: string[]
  binary: string
  files: number
  tools: ToolView[]
  prompts: ToolView[]
  changes: ChangeView[]
  /** What the server lists and Cordon does not offer, and why. */
  refused: string[]
  instructions: string
  without: string[]
  /** Why it named no tools without these, or empty; then only its program is approved. */
  unlisted: string
  covered: string[]
  /** What the command names and the pin does not cover. */
  notCovered: string[]
  /** Every file it consists of is covered, not only those that its command names. */
  installed: boolean
}
/** One changed part: the command, the binary, a tool's definition. */
export interface ChangeView { what: string; kind: 'added' | 'removed' | 'changed'; lines: DiffLine[] }
export interface DiffLine { sign: ' ' | '+' | '-'; old: number; new: number; text: string }

/** One consent request. The answer must carry `id` and `digest` back. */
export interface PromptView {
  id: string
  digest: string
  practice: boolean
  question: string
  consequence: string
  level: number
  target: string
  effect: Effect
  server: string
  serverVersion: string
  tool: string
  tier: Tier
  enforced: number
  demanded: number
  pin: string
  askedBy: string
  askedDetail: string
  args: ArgView[]
  exact: string
  findings: FindingView[]
  leaves: string
  leavesDetail: string
  undo: string
  undoDetail: string
  rule: string
  reason: string
  also: RuleView[]
  preview: PreviewView | null
  allowLabel: string
  opened: string
  deadline: string
  armMillis: number
}
/** One argument value, leaf by leaf. `spans` mark quoted parts, in UTF-16 units of `value`. */
export interface ArgView { pointer: string; kind: 'string' | 'number' | 'boolean' | 'null' | 'empty'; value: string; origin: Origin; detail: string; spans: SpanView[]; note: string }
export interface SpanView { start: number; end: number; origin: Origin; detail: string }
export interface PreviewView { path: string; exists: boolean; added: number; removed: number; lines: DiffLine[] }
export interface RuleView { id: string; reason: string; then: string }

/** The answer to a prompt. */
export interface Answer { id: string; digest: string; allow: boolean; typed: string }

/** `kind` is tool, resource or prompt; of a resource `tool` is the address and `args` empty. */
export interface CallRequest { ticket: string; server: string; kind: 'tool' | 'resource' | 'prompt' | 'task'; tool: string; args: string }
/** How a call goes, in its server's words; `total` is 0 if it is not known. */
export interface CallProgress { ticket: string; server: string; done: number; total: number; text: string }
/** Asks to complete an argument of a prompt or of a resource template. */
/** An icon that the host has drawn anew, as data: addresses. Never in a dialog that asks something. */
export interface IconView { of: 'server' | 'tool' | 'prompt' | 'resource'; name: string; light: string; dark: string }
export interface CompleteRequest { server: string; prompt: string; template: string; argument: string; value: string; others: Record<string, string> }
export interface CallView {
  ticket: string
  callId: string
  event: number
  outcome: 'ok' | 'tool-error' | 'denied' | 'failed' | 'cancelled'
  stage: string
  rule: string
  reason: string
  failure: Failure | null
  content: ContentView[]
  structured: string
  findings: FindingView[]
  number: number
  tookMillis: number
  at: string
  changes: ChangeView[]
}
/** `role` is that of a prompt's message: user or assistant. */
export interface ContentView { type: string; text: string; mime: string; dataUrl: string; uri: string; bytes: number; role: string }
/** One part of a start; its detail may quote the server. */
export interface StepView { name: 'files' | 'sandbox' | 'identity' | 'version' | 'session' | 'tools'; tookMillis: number; detail: string; failed: boolean }
/** Something that a server did against the protocol; the code is stable. */
export interface OddityView { at: string; code: string; text: string }
export interface TaskView { id: string; tool: string; call: string; began: string; ends: string }
/** Where a remote server is and how Cordon identifies itself there. `wanted` is what a person has to sign in again for. */
export interface RemoteView { url: string; login: string; signedIn: boolean; issuer: string; scopes: string[]; wanted: string[]; expires: string; bound: boolean; open: boolean; nameless: boolean; privateHosts: string[] }
/** Something that a server lets be read, or a template of such things. All text in it is the server's. */
export interface ResourceView { uri: string; template: string; variables: string[]; name: string; title: string; description: string; mime: string; size: number }

/** Servers: what the add form sends. `command` is argv, not a shell line. */
export interface NewServer { name: string; package: string; scripts: boolean; command: string[]; read: string[]; write: string[]; net: 'none' | 'loopback' | 'hosts'; hosts: string[]; privateHosts: string[]; reach: number[]; serve: number[]; memoryBytes: number; pids: number; env: EnvView[] }
/** What the form for a remote server sends; it holds secrets. */
export interface NewRemote { name: string; url: string; privateHosts: string[]; header: string; key: string; login: string; clientId: string; secret: string; issuer: string; scopes: string[]; idpTokenEndpoint: string; idpClientId: string; idpToken: string }
export interface NewSecret { name: string; server: string; env: string; value: string }
export interface SecretView { name: string; server: string; env: string; added: string; lastUsed: string; held: string }

export interface EventQuery { text: string; server: string; decision: string; before: number; limit: number }
export interface EventPage { events: EventView[]; total: number; matched: number; asked: number; denied: number }
export interface EventView {
  seq: number
  time: string
  kind: 'call' | 'result' | 'consent' | 'server' | 'pin' | 'secret' | 'log' | 'sandbox' | 'net' | 'model'
  title: string
  server: string
  tool: string
  effect: Effect | ''
  decision: 'allowed' | 'you allowed' | 'you denied' | 'denied' | 'timed out' | 'failed' | 'marked' | 'intent' | ''
  rule: string
  tookMillis: number
  callId: string
}
/** One event's whole story: its call's ten stages and its place in the chain. */
export interface StoryView {
  event: EventView
  summary: string
  stages: StageView[]
  facts: FactView[]
  hash: string
  previous: string
  matches: boolean
  trace: string
  related: EventView[]
  record: string
}
export interface StageView { name: string; state: 'passed' | 'stopped' | 'asked' | 'marked' | 'not reached' | 'ended'; detail: string; micros: number }
export interface FactView { name: string; value: string }

/** Result of "watch a sandbox hold": the same forbidden acts, bare and confined. */
export interface AttemptView { act: string; detail: string; bare: string; confined: string; held: boolean }
export interface TrySandboxView { attempts: AttemptView[]; tier: Tier; enforced: number; demanded: number; tookMillis: number }
/** Long work. `done` closes it; `failure` says why it stopped. Pushed as event "progress". */
export interface Progress { id: string; text: string; step: number; steps: number; done: boolean; failure: Failure | null }

/** A conversation in the list. */
export interface ChatRow {
  id: string
  title: string
  /** "" without a case. */
  caseId: string
  caseName: string
  pinned: boolean
  changed: string
  /** "" when nothing is under way, else as LiveView. */
  phase: LiveView['phase'] | ''
  /** Of a search: the place found, else "". */
  snippet: string
}

/** Searches conversations; the empty one lists all, pinned ones first, then the last changed. */
export interface ChatQuery {
  text: string
  /** "" for all. */
  caseId: string
}

export type Scope = '' | 'read' | 'ask'

/** One conversation. Its newest entries are given; OlderEntries gives more. */
export interface ChatView {
  id: string
  title: string
  caseId: string
  pinned: boolean
  /** What calls may do, whatever its case says: "" as the rules say, read (nothing else), ask (before each). */
  scope: Scope
  /** As in ModelView; "" if none is chosen or it is gone. */
  model: string
  /** That model runs on this computer. */
  local: boolean
  servers: ChatServer[]
  /** Oldest first. */
  entries: EntryView[]
  /** There are older ones. */
  more: boolean
  /** Null when nothing is under way. */
  live: LiveView | null
  left: ChatLeft
  /** Of tools that it has read. */
  results: number
  /** It has read outside text, attached files included. */
  outside: boolean
  budget: BudgetView
}

/** A server whose tools may be offered to the model. */
export interface ChatServer {
  name: string
  on: boolean
  tools: number
  /** About, of its tools' definitions. */
  tokens: number
  state: ServerState
  pin: PinState
}

/** What left this computer for models elsewhere. */
export interface ChatLeft {
  requests: number
  bytes: number
  /** Host names. */
  places: string[]
}

/** What the conversation has used. */
export interface BudgetView {
  /** Tokens that the model can read, 0 if that is not known. */
  context: number
  /** Tokens of it, by the last request. */
  used: number
  dollars: number
  /** The model has prices; else Dollars means nothing. */
  priced: boolean
}

/** One thing in a conversation. Kind says which fields count. */
export interface EntryView {
  seq: number
  /** Seq of the question that it belongs to. */
  turn: number
  /** Question, answer, outcome, end. */
  kind: 'question' | 'answer' | 'outcome' | 'end'
  at: string
  /** Of a question; of an answer, Markdown, untrusted. */
  text: string
  /** Of a question. */
  attachments: AttachmentView[]
  /** Of a question or answer: those that stand in its place, itself included; empty if it is the only one. */
  versions: number[]
  /** Of an answer. */
  reasoning: string
  /** Of an answer. */
  model: string
  local: boolean
  /** Of an answer: what it was asked with. */
  sent: SentView | null
  /** Of an answer. */
  usage: UsedView
  /** Of an answer: end, calls, length, refused; "" if it broke off. */
  stop: 'end' | 'calls' | 'length' | 'refused' | ''
  firstMillis: number
  tookMillis: number
  /** Of an answer: what it wants called. */
  calls: ProposedView[]
  outcome: OutcomeView | null
  end: EndView | null
}

/** A file or a resource that goes with a question. */
export interface AttachmentView {
  name: string
  /** "you", or a server. */
  from: string
  bytes: number
  /** Bound.AttachedImage has it. */
  image: boolean
}

/** A request to a model. */
export interface SentView {
  /** "this computer", or a host name. */
  place: string
  messages: number
  tools: number
  /** Tools that were not told of. */
  held: number
  /** Tools that were not told of because it may only read. */
  barred: number
  /** About. */
  tokens: number
  /** Results that it was given in short, to save room. */
  cut: number
  /** Images that it was not given. */
  unseen: number
  /** It was not. */
  why: string
}

/** What an answer took. */
export interface UsedView {
  input: number
  cached: number
  output: number
  dollars: number
}

/** A call that a model wants. */
export interface ProposedView {
  id: string
  /** "" for one of Cordon's own, or one that does not exist. */
  server: string
  tool: string
  /** JSON, or whatever the model wrote. */
  args: string
}

/** How a call ended. */
export interface OutcomeView {
  /** As ProposedView. */
  id: string
  server: string
  tool: string
  effect: Effect
  /** Ok, tool-error, denied, failed, cancelled, refused (it did not get as far as the gate). */
  state: 'ok' | 'tool-error' | 'denied' | 'failed' | 'cancelled' | 'refused'
  /** A person was. */
  asked: boolean
  /** Of the gate, where it was denied. */
  stage: string
  rule: string
  reason: string
  callId: string
  /** In the log, 0 if there is none. */
  event: number
  /** That answers cite, 0 if there is nothing to cite. */
  number: number
  tookMillis: number
  args: string
  /** One line. */
  summary: string
  content: ContentView[]
  structured: string
  findings: FindingView[]
  bytes: number
  /** Content is only its beginning; Evidence has all. */
  cut: boolean
}

/** How a turn ended. */
export interface EndView {
  /** Done, stopped, failed, limit, refused. */
  why: 'done' | 'stopped' | 'failed' | 'limit' | 'refused'
  reason: string
  failure: Failure | null
}

/** What is under way in a conversation. */
export interface LiveView {
  rev: number
  /** Asking (the model), retrying, calling, waiting (for a person). */
  phase: 'asking' | 'retrying' | 'calling' | 'waiting'
  since: string
  model: string
  /** Of the answer, as far as it came. */
  parts: LivePart[]
  /** Calls. */
  running: RunningView[]
  /** Why the model is asked again, "" if it is not. */
  retry: string
  /** What it is asked with, null before that is known. */
  sent: SentView | null
}

/** A piece of an answer that is coming: text, reasoning or a call. */
export interface LivePart {
  kind: 'text' | 'reasoning' | 'call'
  text: string
  name: string
}

/** A call that is under way. */
export interface RunningView {
  id: string
  server: string
  tool: string
  effect: Effect
  /** Next, waiting (for a person), running. */
  state: 'next' | 'waiting' | 'running'
}

/** Says what has changed in a conversation: an entry that was added, text that continues a part of the answer that is coming, or all of what is under way. Pushes come in order. */
export interface ChatPush {
  id: string
  /** Grows; what LiveView.rev says is in it need not be added again. */
  rev: number
  entry: EntryView | null
  /** Of the part in LiveView.Parts. */
  index: number
  /** Text is to be added to that part; a new index begins one. */
  part: LivePart | null
  live: LiveView | null
  /** Nothing is under way any more. */
  idle: boolean
}

/** Begins a conversation. */
export interface NewChat {
  caseId: string
  /** "" for the one used last that the case allows. */
  model: string
  /** The conversation whose scope and servers it has, "" for none. */
  like: string
}

/** A question. */
export interface Ask {
  id: string
  text: string
  /** Seq of the question that it is an edited version of, or 0. */
  replaces: number
  attach: Attachment[]
}

/** A file's text or an image that goes with a question, or a resource that a server has. */
export interface Attachment {
  name: string
  text: string
  /** PNG or JPEG, in base64; "" for text. */
  image: string
  /** "" for a file; else URI is read through the gate first. */
  server: string
  uri: string
}

/** Changes what a conversation is: only the field that What names counts. */
export interface ChatChange {
  id: string
  /** Title, pinned, model, server, case, scope. */
  what: 'title' | 'pinned' | 'model' | 'server' | 'case' | 'scope'
  /** Title, model, server's name, case's id, scope. */
  text: string
  /** Pinned; server. */
  on: boolean
}

/** Groups conversations. */
export interface CaseView {
  id: string
  name: string
  /** Of the Traffic Light Protocol: "", clear, green, amber, amber+strict, red. */
  marking: '' | 'clear' | 'green' | 'amber' | 'amber+strict' | 'red'
  notes: string
  /** Where its files are, "" for none. */
  folder: string
  /** Whose tools may be offered; empty for all. */
  servers: string[]
  /** That may be asked; empty for all. */
  models: string[]
  localOnly: boolean
  /** Words that no model gets. */
  redact: string[]
  /** As ChatView. */
  scope: Scope
  limits: CaseLimits
}

/** Bound one question; 0 is the usual limit, or none for dollars. */
export interface CaseLimits {
  requests: number
  calls: number
  tokens: number
  dollars: number
  minutes: number
}

/** What a server may do with a folder. */
export interface FolderAccess {
  server: string
  folder: string
  access: 'none' | 'read' | 'write'
  /** What the folder is once links are followed; this is granted. */
  real: string
  /** The folder above it that is granted, "" for none; only Servers can change that. */
  through: string
  /** Something below it is granted besides. */
  parts: boolean
}

/** A model that may be asked. */
export interface ModelView {
  name: string
  /** Anthropic, openai. */
  kind: 'anthropic' | 'openai'
  url: string
  model: string
  local: boolean
  hasKey: boolean
  /** Under which the keyring keeps it. */
  keyName: string
  /** "" for the usual one. */
  header: string
  images: boolean
  reasons: boolean
  context: number
  output: number
  prices: PriceView
}

/** What a million tokens cost, in dollars; all 0 if that is not known. */
export interface PriceView {
  input: number
  cached: number
  output: number
}

/** A model that a program on this computer offers. */
export interface FoundModel {
  /** The program that usually listens there. */
  place: string
  url: string
  model: string
}

/** All that Settings shows of models. */
export interface ModelsView {
  models: ModelView[]
  localOnly: boolean
}

/** A key on its way to the keyring. */
export interface NewModelKey {
  /** Of a model at its place. */
  name: string
  value: string
}

/** The methods the window may call; nothing else is bound. All reject with Failure. */
export interface Bound {
  Snapshot(): Promise<Snapshot>
  Answer(a: Answer): Promise<void>
  Call(c: CallRequest): Promise<CallView>
  CancelCall(ticket: string): Promise<void>
  AddServer(s: NewServer): Promise<void>
  AddRemote(s: NewRemote): Promise<void>
  SignIn(name: string): Promise<void>
  CancelTask(server: string, id: string): Promise<void>
  SignOut(name: string): Promise<void>
  SetOpen(name: string, open: boolean): Promise<void>
  Resources(name: string): Promise<ResourceView[]>
  Icons(name: string): Promise<IconView[]>
  /** Returns when the server says that the resource has changed; CancelCall with the ticket ends it. */
  AwaitChange(ticket: string, name: string, uri: string): Promise<void>
  ExpandTemplate(template: string, values: Record<string, string>): Promise<string>
  Complete(r: CompleteRequest): Promise<string[]>
  InstallServer(s: NewServer): Promise<string>
  RemoveServer(name: string): Promise<void>
  StartServer(name: string): Promise<void>
  StopServer(name: string): Promise<void>
  RestartServer(name: string): Promise<void>
  AnswerQuestion(a: QuestionAnswer): Promise<void>
  Frames(name: string): Promise<FrameView[]>
  Wanted(name: string): Promise<WantedView>
  AnswerWanted(a: WantedAnswer): Promise<void>
  ObserveServer(name: string, on: boolean): Promise<void>
  StopEverything(): Promise<void>
  ServerLog(name: string): Promise<LogLine[]>
  Review(name: string): Promise<ReviewView>
  Approve(name: string, digest: string): Promise<void>
  SetSecret(s: NewSecret): Promise<void>
  RemoveSecret(name: string): Promise<void>
  UseSessionSecrets(): Promise<void>
  Recheck(): Promise<void>
  Events(q: EventQuery): Promise<EventPage>
  Story(seq: number): Promise<StoryView>
  VerifyLog(): Promise<LogView>
  TryFilesystem(): Promise<string>
  TrySandbox(): Promise<TrySandboxView>
  TryConsent(): Promise<CallView>
  CancelProgress(id: string): Promise<void>
  FinishFirstRun(): Promise<void>
  ChooseFolder(title: string): Promise<string>
  OpenLink(url: string): Promise<void>
  /** Says whether the window has the focus: while it has not, the desktop is told that something waits. */
  Focus(on: boolean): Promise<void>
  Chats(q: ChatQuery): Promise<ChatRow[]>
  OpenChat(id: string): Promise<ChatView>
  OlderEntries(id: string, before: number): Promise<EntryView[]>
  NewChat(c: NewChat): Promise<ChatView>
  /** Returns when the turn has ended, however that is: what there is to say of it is in its entry of kind end. */
  Ask(a: Ask): Promise<void>
  /** Ends what is under way, at once. */
  StopChat(id: string): Promise<void>
  /** Answers a question again, beside the answer that there is. */
  RetryTurn(id: string, question: number): Promise<void>
  /** Goes on where a turn broke off. */
  ContinueChat(id: string): Promise<void>
  /** Shows another version of an entry, with what followed it. */
  SelectVersion(id: string, seq: number): Promise<ChatView>
  ChangeChat(c: ChatChange): Promise<void>
  DeleteChat(id: string): Promise<void>
  /** A new conversation with all that led to an entry. */
  BranchChat(id: string, seq: number): Promise<ChatView>
  /** Writes a file where the person chooses; "" if they chose none. */
  ExportChat(id: string, format: string): Promise<string>
  /** The whole of a result, as it was kept. */
  Evidence(id: string, seq: number): Promise<OutcomeView>
  Cases(): Promise<CaseView[]>
  SetCase(c: CaseView): Promise<string>
  RemoveCase(id: string): Promise<void>
  /** What the servers on this computer may do with a folder. */
  FolderAccess(folder: string): Promise<FolderAccess[]>
  /** Grants a server a folder, or takes it away. Returns when the server runs again. */
  SetFolderAccess(f: FolderAccess): Promise<void>
  /** An image that goes with a question, by its place among what is attached. */
  AttachedImage(id: string, seq: number, index: number): Promise<ContentView>
  Models(): Promise<ModelsView>
  SetModel(m: ModelView): Promise<void>
  SetModelKey(k: NewModelKey): Promise<void>
  RemoveModel(name: string): Promise<void>
  FindModels(): Promise<FoundModel[]>
  SetLocalModels(only: boolean): Promise<void>
}

/** Events pushed by the host; a closed list. "activity" carries newly written events, oldest first. */
export interface Pushed { snapshot: Snapshot; progress: Progress; call: CallProgress; activity: EventView[]; chat: ChatPush }
