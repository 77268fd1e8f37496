// What the window shows: the last snapshot, where the person is, and what floats above. Screens read it; the host stays
// the owner of everything in the snapshot.

import { api, on, toFailure } from './api'
import { rememberedTheme, type Theme, rememberedDensity, type Density, applyLook } from './look'
import type { Answer, Failure, IconView, ModelView, Progress, PromptView, ResourceView, ServerView, Snapshot } from './types'

export const screens = ['chat', 'run', 'servers', 'activity', 'settings', 'start'] as const
export type Screen = (typeof screens)[number]
export type SettingsPage = 'secrets' | 'models' | 'policy' | 'computer' | 'appearance' | 'keyboard' | 'about'

/** `about` names what it is about: a newer message about the same takes its place. */
export interface Toast { id: number; kind: 'ok' | 'danger' | 'plain'; text: string; more: string; code: string; about: string }
/** What is shown above the screens, one at a time; consent stands above all of them. */
export type Overlay = { kind: 'none' } | { kind: 'keys' } | { kind: 'add' } | { kind: 'link'; url: string } | { kind: 'remove'; server: string }
  | { kind: 'model'; model: ModelView | null } | { kind: 'model-key'; model: ModelView } | { kind: 'model-remove'; model: ModelView }
  | { kind: 'palette'; only: '' | 'chats' } | { kind: 'rename-chat'; id: string; title: string } | { kind: 'delete-chat'; id: string; title: string } | { kind: 'case'; chat: string }

class App {
  snapshot = $state.raw<Snapshot | null>(null)
  failed = $state.raw<Failure | null>(null)
  screen = $state<Screen>('start')
  page = $state<SettingsPage>('secrets')
  server = $state('')
  runServer = $state('')
  runTool = $state('')
  event = $state(0)
  /** Icons by server, then by kind and name. */
  private icons = $state.raw<Readonly<Record<string, ReadonlyMap<string, IconView>>>>({})
  private drawn = new Map<string, string>()
  /** A resource that a result named, to be opened with its server. */
  linked = $state.raw<ResourceView | null>(null)
  overlay = $state.raw<Overlay>({ kind: 'none' })
  toasts = $state.raw<Toast[]>([])
  progress = $state.raw<Readonly<Record<string, Progress>>>({})
  /** Sign-ins that were begun in this window, by server: before the page is known, while it is open, left by the person, or why the last one failed. */
  signIns = $state.raw<Readonly<Record<string, 'asking' | 'browser' | 'left' | Failure>>>({})
  bannerHidden = $state('')
  theme = $state<Theme>(rememberedTheme())
  density = $state<Density>(rememberedDensity())
  /** The prompt that was answered or ran out here; the host takes it from the next snapshot. */
  private closedPrompt = $state('')
  private lastToast = 0

  servers = $derived<readonly ServerView[]>(this.snapshot?.servers ?? [])
  running = $derived(this.servers.filter((s) => s.state === 'running' || s.state === 'degraded').length)
  weakened = $derived(this.servers.filter((s) => s.tier === 'weakened'))
  quarantined = $derived(this.servers.filter((s) => s.state === 'quarantined'))
  reviews = $derived(this.servers.filter((s) => s.pin !== 'pinned'))
  prompt = $derived<PromptView | null>(this.snapshot?.prompt && promptKey(this.snapshot.prompt) !== this.closedPrompt ? this.snapshot.prompt : null)

  /** Hears the host and asks for the first snapshot. Returns what stops the hearing. */
  connect(): () => void {
    this.closedPrompt = ''
    const off = [
      on('snapshot', (s) => this.take(s)),
      on('progress', (p) => { this.progress = { ...this.progress, [p.id]: p } }),
    ]
    void this.load()
    return () => off.forEach((f) => f())
  }

  async load(): Promise<void> {
    this.failed = null
    try {
      const first = this.snapshot === null
      const s = await api.Snapshot()
      if (first) this.screen = s.firstRun ? 'start' : (await talks()) ? 'chat' : 'servers'
      this.take(s)
    } catch (e) {
      this.failed = toFailure(e)
    }
  }

  private take(s: Snapshot): void {
    // The host has taken the answered prompt away; should the same one ever come again, it is shown again.
    if (!s.prompt || promptKey(s.prompt) !== this.closedPrompt) this.closedPrompt = ''
    if (s.question?.signIn && this.signIns[s.question.server] === 'asking') this.signIns = { ...this.signIns, [s.question.server]: 'browser' }
    const before = this.servers
    this.snapshot = s
    this.failed = null
    this.toasts = this.toasts.filter((t) => !outdated(t, before, s.servers))
    for (const server of s.servers) {
      const at = server.icons > 0 && server.pin === 'pinned' && server.state === 'running' ? `${server.icons} ${server.since}` : ''
      if (at && this.drawn.get(server.name) !== at) { this.drawn.set(server.name, at); void this.loadIcons(server.name) }
    }
  }

  /** Asks for the icons of a server again. Without them everything is as usable. */
  async loadIcons(name: string): Promise<void> {
    try {
      const all = await api.Icons(name)
      this.icons = { ...this.icons, [name]: new Map(all.map((i) => [`${i.of} ${i.name}`, i])) }
    } catch {
      // The names say everything.
    }
  }
  /** The icon of something of an approved server. */
  icon(server: string, of: IconView['of'], name: string): IconView | undefined {
    return this.servers.some((s) => s.name === server && s.pin === 'pinned') ? this.icons[server]?.get(`${of} ${name}`) : undefined
  }

  go(screen: Screen): void { this.screen = screen }
  openServer(name: string): void { this.server = name; this.screen = 'servers' }
  openResource(server: string, resource: ResourceView): void { this.linked = resource; this.openServer(server) }
  openRun(server: string, tool = ''): void { this.runServer = server; this.runTool = tool; this.screen = 'run' }
  openEvent(seq: number): void { this.event = seq; this.screen = 'activity' }
  openSettings(page: SettingsPage): void { this.page = page; this.screen = 'settings' }

  /** Unless said, it is about the server that its text begins with, or else about itself. */
  toast(kind: Toast['kind'], text: string, more = '', code = '', about = this.servers.find((s) => begins(text, s.name))?.name ?? text): void {
    const others = this.toasts.filter((t) => t.about !== about)
    const room = others.length - (most - 1)
    const leave = [...others.filter((t) => t.kind !== 'danger'), ...others.filter((t) => t.kind === 'danger')].slice(0, Math.max(0, room))
    this.toasts = [...others.filter((t) => !leave.includes(t)), { id: ++this.lastToast, kind, text, more, code, about }]
  }
  dismiss(id: number): void { this.toasts = this.toasts.filter((t) => t.id !== id) }
  fail(e: unknown): void {
    const f = toFailure(e)
    if (f.code === cancelled) return
    this.toast('danger', f.what, [f.means, f.fix].filter(Boolean).join(' '), f.code)
  }
  /** Does one thing and says so if it failed. */
  async attempt(act: () => Promise<void>): Promise<boolean> {
    try {
      await act()
      return true
    } catch (e) {
      this.fail(e)
      return false
    }
  }

  /** Signs in to a remote server; one at a time for each. Its end shows in the snapshot, and its failure here. */
  async signIn(name: string): Promise<void> {
    if (typeof this.signIns[name] === 'string') return
    const { [name]: _before, ...others } = this.signIns
    this.signIns = { ...others, [name]: 'asking' }
    let failed: Failure | null = null
    try {
      await api.SignIn(name)
      this.toast('ok', `You are signed in to ${name}.`, 'Its calls go through the same gate as any other.', '', name)
    } catch (e) {
      failed = toFailure(e)
    }
    const { [name]: now, ...rest } = this.signIns
    this.signIns = failed && failed.code !== cancelled && now !== 'left' ? { ...rest, [name]: failed } : rest
  }

  /** The person did not want the page: what the sign-in ends with is no failure to tell of. */
  leaveSignIn(name: string): void {
    if (typeof this.signIns[name] === 'string') this.signIns = { ...this.signIns, [name]: 'left' }
    this.toast('plain', `You are not signed in to ${name}.`, 'The page was not opened.', '', name)
  }

  async stopEverything(): Promise<void> {
    if (await this.attempt(() => api.StopEverything())) this.toast('plain', 'Everything was stopped.', 'All servers ended; calls that were pending are denied.')
  }

  /** Sends the answer; the dialog closes when the host has it. A refused answer throws and leaves the dialog open. */
  async answer(prompt: PromptView, answer: Answer): Promise<void> {
    await api.Answer(answer)
    this.closedPrompt = promptKey(prompt)
  }
  /** The deadline has passed: the host has denied it by now. */
  expire(prompt: PromptView): void {
    this.closedPrompt = promptKey(prompt)
    this.toast('plain', `No answer in time: ${prompt.server}.${prompt.tool} was denied.`, 'Nothing ran.')
  }

  setTheme(theme: Theme): void { this.theme = theme; applyLook(theme, this.density) }
  setDensity(density: Density): void { this.density = density; applyLook(this.theme, density) }
}

/** Whether there is anything to chat with, or a conversation to read. */
async function talks(): Promise<boolean> {
  const [chats, models] = await Promise.allSettled([api.Chats({ text: '', caseId: '' }), api.Models()])
  return (chats.status === 'fulfilled' && chats.value.length > 0) || (models.status === 'fulfilled' && models.value.models.length > 0)
}

/** The code of what a person ended: that is no failure to tell of. */
const cancelled = 'CRD-GEN-02'

/** So many messages are shown; what is no failure makes room first. */
const most = 3

const begins = (text: string, name: string): boolean => text.startsWith(name) && !/[\w-]/.test(text.charAt(name.length))

/** A message about a server is out of date when the server stops or fails; one about its failure, when it runs again. */
function outdated(t: Toast, before: readonly ServerView[], now: readonly ServerView[]): boolean {
  const runs = (servers: readonly ServerView[]): boolean | undefined => {
    const state = servers.find((s) => s.name === t.about)?.state
    return state === undefined || state === 'starting' ? undefined : state === 'running' || state === 'degraded'
  }
  const after = runs(now)
  return after !== undefined && after !== runs(before) && after === (t.kind === 'danger')
}

/** Everything a prompt shows takes part: any change makes it another prompt, which arms anew. */
export const promptKey = (p: PromptView): string => JSON.stringify(p)

export const app = new App()
