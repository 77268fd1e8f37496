// Conversations: the list of them, and the one that is open. The host owns both; pushes keep them current.

import { api, on, toFailure } from './api'
import { app } from './app.svelte'
import { added, grouped, lived, merged, type Turn } from './talk'
import type { Attachment, CaseView, ChatChange, ChatPush, ChatRow, ChatView, EntryView, Failure, LiveView, ModelsView } from './types'

/** What is written and not sent yet. Kept for each conversation until the window closes. */
export interface Draft { text: string; attach: Attachment[]; replaces: number }
export const nothingWritten = (): Draft => ({ text: '', attach: [], replaces: 0 })
/** What the panel shows: how the answer came about, or one call. */
export type Shown = { kind: 'steps' } | { kind: 'call'; seq: number; ask: number }

/** One conversation that is open. */
export class Talk {
  readonly id: string
  view = $state.raw<ChatView | null>(null)
  entries = $state.raw<readonly EntryView[]>([])
  more = $state(false)
  live = $state.raw<LiveView | null>(null)
  failure = $state.raw<Failure | null>(null)
  /** Older entries are on their way. */
  loading = $state(false)
  /** An act of this window has not ended. */
  acting = $state(false)
  busy = $derived(this.live !== null || this.acting)
  private before: Turn[] = []
  turns = $derived.by(() => (this.before = grouped(this.entries, this.before)))
  /** Results by the number that answers cite. */
  results = $derived(new Map(this.entries.flatMap((e) => (e.outcome && e.outcome.number > 0 ? [[e.outcome.number, e] as const] : []))))
  private least = $derived([...this.results.keys()].reduce((a, b) => Math.min(a, b), Infinity))
  private queue: ChatPush[] = []
  private frame = 0
  private again: ReturnType<typeof setTimeout> | undefined
  private opening = true
  private gone = false

  constructor(id: string) { this.id = id }

  async open(): Promise<void> {
    this.opening = true
    try {
      this.take(await api.OpenChat(this.id), true)
    } catch (e) {
      this.failure = toFailure(e)
      this.opening = false
    }
  }
  close(): void {
    this.gone = true
    cancelAnimationFrame(this.frame)
    clearTimeout(this.again)
  }
  /** A whole view replaces everything, or brings the newest page up to date. */
  take(v: ChatView, whole: boolean): void {
    const first = v.entries[0]?.seq ?? 0
    const kept = !whole && v.more && (this.entries[0]?.seq ?? first) < first
    this.more = kept ? this.more : v.more
    this.entries = whole ? v.entries : merged(this.entries, v.entries, v.more)
    this.live = v.live
    this.view = v
    this.failure = null
    // Text that was pushed meanwhile may be part of the view already, which its number tells; entries are put in their place, however often they come.
    const late = this.queue
    this.queue = []
    this.opening = false
    for (const p of late) if (!p.part || v.live) this.apply(p)
  }

  /** Text waits for the next frame, so that any number of pushes is drawn once; everything else, and a hidden window, does not wait. */
  push(p: ChatPush): void {
    this.queue.push(p)
    if (this.opening) return
    if (!p.part || this.queue.length > 500) this.flush()
    else if (this.frame === 0) this.frame = requestAnimationFrame(() => this.flush())
  }
  flush(): void {
    cancelAnimationFrame(this.frame)
    this.frame = 0
    const all = this.queue
    this.queue = []
    for (const p of joined(all)) this.apply(p)
  }
  private apply(p: ChatPush): void {
    if (p.entry) this.entries = added(this.entries, p.entry)
    this.live = lived(this.live, p, this.view?.model ?? '')
    // What left, what was read and the title are not pushed: they are asked for when they may have changed.
    if (p.idle || p.entry?.kind === 'answer' || p.live?.sent) this.refresh()
  }
  private refresh(): void {
    clearTimeout(this.again)
    this.again = setTimeout(() => {
      api.OpenChat(this.id).then((v) => {
        if (this.gone) return
        if (this.busy) this.view = v
        else this.take(v, false)
      }, () => {}) // what is shown stays as it was
    }, 200)
  }

  /** Asks for the entries before the first; false when there are none. */
  async older(): Promise<boolean> {
    const first = this.entries[0]
    if (!this.more || this.loading || !first) return false
    this.loading = true
    const before = this.entries
    try {
      const page = await api.OlderEntries(this.id, first.seq)
      const fresh = page.filter((e) => e.seq < first.seq)
      // Another version may have been chosen meanwhile: then these are not what was before it.
      if (this.entries[0] === before[0]) { this.entries = [...fresh, ...this.entries]; this.more = fresh.length > 0 }
    } catch (e) {
      app.fail(e)
      this.more = false
    }
    this.loading = false
    return true
  }
  /** Loads older entries until a result is there. */
  async find(number: number): Promise<EntryView | null> {
    for (let i = 0; i < 200 && !this.results.has(number); i++) if (!(await this.older())) break
    return this.results.get(number) ?? null
  }
  /** A result that may be among entries that are not loaded counts as one. */
  knows(number: number): boolean {
    return this.results.has(number) || (this.more && number > 0 && number < this.least)
  }

  /** Does something that lasts as long as a turn. What was replaced goes from sight when the host says that it has begun. */
  private async act(does: () => Promise<void>): Promise<boolean> {
    if (this.busy) return false
    this.acting = true
    this.failure = null
    let well = true
    try {
      await does()
    } catch (e) {
      well = false
      const f = toFailure(e)
      if (f.code !== 'CRD-GEN-02') {
        if (this.gone) app.fail(f)
        else this.failure = f
      }
    }
    this.flush()
    this.acting = false
    if (!this.gone) this.refresh()
    return well
  }
  /** True if the host took the question; then it is an entry, whatever became of its answer. */
  async ask(text: string, attach: Attachment[], replaces: number): Promise<boolean> {
    if (this.busy) return false
    const newest = this.entries.at(-1)?.seq ?? 0
    const well = await this.act(() => this.instead(replaces > 0 ? replaces - 1 : 0, api.Ask({ id: this.id, text, replaces, attach })))
    return well || this.entries.some((e) => e.kind === 'question' && e.seq > newest)
  }
  retry(question: number): Promise<boolean> {
    return this.act(() => this.instead(question, api.RetryTurn(this.id, question)))
  }
  /** What follows an entry goes from sight while something else comes in its place; the host keeps it as a version. */
  private async instead(after: number, done: Promise<void>): Promise<void> {
    if (after > 0) this.entries = this.entries.filter((e) => e.seq <= after)
    try {
      await done
    } catch (e) {
      if (after > 0 && !this.gone) await this.open()
      throw e
    }
  }
  carryOn(): Promise<boolean> { return this.act(() => api.ContinueChat(this.id)) }
  async stop(): Promise<void> { await app.attempt(() => api.StopChat(this.id)) }
  async select(seq: number): Promise<void> {
    if (this.busy) return
    await app.attempt(async () => { this.take(await api.SelectVersion(this.id, seq), true) })
  }
  async change(c: Omit<ChatChange, 'id'>): Promise<void> {
    await app.attempt(async () => {
      await api.ChangeChat({ id: this.id, ...c })
      const v = await api.OpenChat(this.id)
      if (!this.gone) this.view = v
    })
  }
}

const wide = (): boolean => window.innerWidth > 720

/** Text for the same part in one piece. */
function joined(all: readonly ChatPush[]): ChatPush[] {
  const out: ChatPush[] = []
  for (const p of all) {
    const last = out.at(-1)
    if (last?.part && p.part && last.index === p.index && !last.entry && !p.entry && !p.live && !last.live) out[out.length - 1] = { ...last, rev: p.rev, part: { ...last.part, text: last.part.text + p.part.text, name: p.part.name || last.part.name } }
    else out.push(p)
  }
  return out
}

class Chats {
  rows = $state.raw<readonly ChatRow[]>([])
  /** All of them, whatever is searched for. */
  all = $state.raw<readonly ChatRow[]>([])
  /** The list was asked for once. */
  listed = $state(false)
  failure = $state.raw<Failure | null>(null)
  text = $state('')
  talk = $state.raw<Talk | null>(null)
  /** The evidence panel. In a narrow window it lies over the thread, so it waits until it is asked for. */
  panel = $state(wide())
  shown = $state.raw<Shown>({ kind: 'steps' })
  /** Seq of the turn that the panel is about; 0 for the last. */
  turn = $state(0)
  models = $state.raw<ModelsView | null>(null)
  cases = $state.raw<readonly CaseView[]>([])
  /** Counts up when the place to write should take the focus. */
  write = $state(0)
  drafts = new Map<string, Draft>()
  private asked = 0
  private again: ReturnType<typeof setTimeout> | undefined
  private wait: ReturnType<typeof setTimeout> | undefined

  id = $derived(this.talk?.id ?? '')
  row = $derived(this.rows.find((r) => r.id === this.id) ?? this.all.find((r) => r.id === this.id))

  /** Hears the host and asks for the list. Returns what stops the hearing. */
  connect(): () => void {
    const off = on('chat', (p) => this.take(p))
    void this.first()
    return () => { off(); clearTimeout(this.again); clearTimeout(this.wait); this.talk?.close() }
  }
  /** Forgets everything, as for a new window. */
  reset(): void {
    this.talk?.close()
    this.talk = null
    this.rows = this.all = []
    this.cases = []
    this.listed = false
    this.models = this.failure = null
    this.text = ''
    this.panel = wide()
    this.turn = 0
    this.shown = { kind: 'steps' }
    this.drafts.clear()
  }
  private async first(): Promise<void> {
    void this.loadModels()
    void this.loadCases()
    await this.list()
    const newest = [...this.rows].sort((a, b) => b.changed.localeCompare(a.changed))[0]
    if (newest && !this.talk) await this.open(newest.id)
  }
  async list(): Promise<void> {
    const mine = ++this.asked
    try {
      const rows = await api.Chats({ text: this.text, caseId: '' })
      if (mine !== this.asked) return // only the newest question's answer counts
      this.rows = rows
      if (this.text === '') this.all = rows
      this.failure = null
    } catch (e) {
      if (mine === this.asked) this.failure = toFailure(e)
    }
    this.listed = true
  }
  /** Typing waits a moment. */
  search(text: string): void {
    this.text = text
    clearTimeout(this.wait)
    this.wait = setTimeout(() => void this.list(), text === '' ? 0 : 200)
  }
  private listSoon(): void {
    clearTimeout(this.again)
    this.again = setTimeout(() => void this.list(), 300)
  }
  async loadModels(): Promise<void> {
    try { this.models = await api.Models() } catch { this.models ??= { models: [], localOnly: false } }
  }
  async loadCases(): Promise<void> {
    try { this.cases = await api.Cases() } catch { /* then no case has a name */ }
  }

  private take(p: ChatPush): void {
    if (this.talk?.id === p.id) this.talk.push(p)
    const phase = p.idle ? '' : p.live?.phase
    const row = this.rows.find((r) => r.id === p.id)
    if (row && phase !== undefined && row.phase !== phase) this.rows = this.rows.map((r) => (r.id === p.id ? { ...r, phase } : r))
    if (p.idle || p.entry?.kind === 'question') this.listSoon()
  }

  async open(id: string): Promise<void> {
    if (this.talk?.id === id && !this.talk.failure) return
    this.show(new Talk(id))
    await this.talk?.open()
  }
  private show(talk: Talk): void {
    this.talk?.close()
    this.talk = talk
    this.turn = 0
    this.shown = { kind: 'steps' }
  }
  /** Opens a conversation on its screen. */
  async go(id: string): Promise<void> {
    app.go('chat')
    await this.open(id)
    this.write++
  }
  private async began(v: ChatView): Promise<void> {
    const talk = new Talk(v.id)
    talk.take(v, true)
    this.show(talk)
    app.go('chat')
    this.text = ''
    await this.list()
    this.write++
  }
  /** Begins a conversation, unless the one that is open is still empty. */
  async begin(): Promise<void> {
    if (this.talk?.view && this.talk.entries.length === 0 && !this.talk.busy) { app.go('chat'); this.write++; return }
    await app.attempt(async () => this.began(await api.NewChat({ caseId: this.talk?.view?.caseId ?? '', model: '', like: this.talk?.id ?? '' })))
  }
  async branch(seq: number): Promise<void> {
    const id = this.id
    await app.attempt(async () => { await this.began(await api.BranchChat(id, seq)); app.toast('ok', 'This is a conversation of its own now.', 'The one that it came from stays as it is.', '', 'branch') })
  }
  async remove(id: string): Promise<boolean> {
    return app.attempt(async () => {
      await api.DeleteChat(id)
      this.drafts.delete(id)
      if (this.id === id) { this.talk?.close(); this.talk = null }
      await this.list()
      const next = this.rows[0]
      if (!this.talk && next) await this.open(next.id)
    })
  }
  /** Changes a conversation of the list, open or not. */
  async change(id: string, c: Omit<ChatChange, 'id'>): Promise<void> {
    if (this.talk?.id === id) await this.talk.change(c)
    else await app.attempt(() => api.ChangeChat({ id, ...c }))
    await this.list()
  }
  async save(format: 'markdown' | 'json' | 'pdf'): Promise<void> {
    await app.attempt(async () => {
      const at = await api.ExportChat(this.id, format)
      if (at) app.toast('ok', 'The conversation was written to a file.', at, '', 'export')
    })
  }

  /** Shows a call in the panel. */
  showCall(seq: number): void {
    this.panel = true
    this.shown = { kind: 'call', seq, ask: this.shown.kind === 'call' ? this.shown.ask + 1 : 1 }
  }
  async showResult(number: number): Promise<void> {
    const e = await this.talk?.find(number)
    if (e) this.showCall(e.seq)
    else app.toast('plain', `No result in this conversation has the number ${number}.`, '', '', 'cite')
  }
  showTurn(seq: number): void {
    this.panel = true
    this.turn = seq
    this.shown = { kind: 'steps' }
  }
}

export const chat = new Chats()
