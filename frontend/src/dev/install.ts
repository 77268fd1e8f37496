// `npm run dev` in a browser: ?scene=…&screen=…&theme=… shows one state of one screen.

import { tick } from 'svelte'
import { app, screens, type Screen, type SettingsPage } from '../lib/app.svelte'
import { chat } from '../lib/chat.svelte'
import type { Snapshot } from '../lib/types'
import { access, cases, models as talkers, talks } from './chat'
import { snapshot, standin, type Standin } from './host'
import { manyModels, models } from './models'
import { promptHigh, promptPractice, promptTwo, promptWrite } from './prompts'
import { manyServers, servers } from './servers'

const query = new URLSearchParams(location.search)
const scene = query.get('scene') ?? ''
let host: Standin

const scenes: Record<string, () => Partial<Snapshot>> = {
  first: () => ({ firstRun: true, servers: [], secrets: [], log: { events: 9, intact: true, checkedAt: '', head: 'a0', problem: '' } }),
  empty: () => ({ servers: [], secrets: [], log: { events: 0, intact: true, checkedAt: '', head: '', problem: '' } }),
  many: () => ({ servers: manyServers() }),
  write: () => ({ prompt: promptWrite(), waiting: 1 }),
  high: () => ({ prompt: promptHigh() }),
  two: () => ({ prompt: promptTwo() }),
  practice: () => ({ prompt: promptPractice() }),
  degraded: () => ({
    servers: servers.map((s) => ({ ...s, state: 'refused' as const, pid: 0 })),
    keyring: { state: 'locked', provider: 'GNOME Keyring', detail: 'GNOME Keyring answers, but the collection “Login” is locked.', fix: 'Unlock it in the desktop’s password application.' },
    problems: [{ code: 'CRD-SBX-11', what: 'No server can start.', means: 'This kernel’s Landlock is too old, and user namespaces are off.', fix: 'Allow user namespaces, or use a kernel from 6.2 on.' }],
    checks: [{ name: 'Landlock', state: 'missing', detail: 'Kernel 6.1 has Landlock ABI 2, and user namespaces are off. With ABI 2 a server could empty files it may only read.', fix: 'Allow user namespaces (kernel.unprivileged_userns_clone=1), or a kernel from 6.2 on.' }, { name: 'Limits', state: 'degraded', detail: 'No delegated cgroup: memory is limited per process only.', fix: 'Log in through systemd-logind.' }, { name: 'System calls', state: 'ok', detail: 'seccomp filter loads.', fix: '' }],
  }),
  broken: () => ({ log: { events: 12498, intact: false, checkedAt: '2026-11-23T09:40:00Z', head: 'b71c', problem: 'Event 12,431 does not have the hash that event 12,432 names.' } }),
}

export function install(): void {
  host = standin(snapshot(scenes[scene]?.() ?? {}))
  host.made.play = true
  if (query.get('chats') !== 'none') { host.made.talks = talks(); host.made.cases = cases; host.made.access = access }
  const stand = { empty: [], none: [], one: models.slice(0, 1), many: manyModels() }[query.get('models') ?? '']
  host.models = { models: stand ?? [...talkers.models, ...models], localOnly: query.has('local') }
  if (query.has('nothing')) host.found = []
  if (query.get('models') === 'looking') host.looking = new Promise(() => {})
  if (query.get('models') === 'failing') host.Models = () => Promise.reject({ code: 'CRD-CFG-01', what: 'config.json:12:5: models[0].url: is not an address', means: 'The file is left as it is, and nothing it defines is used until it is right.', fix: 'Correct the file and start Cordon again.' })
  const theme = query.get('theme')
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset['theme'] = theme
  if (query.get('font') === 'dejavu') document.documentElement.style.fontFamily = 'DejaVu Sans'
  if (scene === 'loading') host.Snapshot = () => new Promise(() => {})
}

/** Goes where the address says, and presses what the scene needs. */
export async function play(): Promise<void> {
  const settle = async (ms = 60): Promise<void> => { await tick(); await new Promise((done) => setTimeout(done, ms)) }
  await settle()
  const screen = query.get('screen')
  if (screen && (screens as readonly string[]).includes(screen)) app.go(screen as Screen)
  const page = query.get('page')
  if (page) app.openSettings(page as SettingsPage)
  const server = query.get('server')
  if (server && screen === 'run') app.openRun(server, query.get('tool') ?? '')
  else if (server) app.openServer(server)
  const seq = Number(query.get('event') ?? 0)
  if (seq) app.openEvent(seq)
  const talk = query.get('chat')
  if (talk) await chat.go(talk)
  if (query.get('overlay') === 'palette') app.overlay = { kind: 'palette', only: '' }
  if (query.get('overlay') === 'case') app.overlay = { kind: 'case', chat: chat.id }
  if (query.get('overlay') === 'add') app.overlay = { kind: 'add' }
  if (query.get('overlay') === 'keys') app.overlay = { kind: 'keys' }
  if (query.get('overlay') === 'link') app.overlay = { kind: 'link', url: 'https://docs.example/a?b=\u202Ecod.exe' }
  const result = query.get('result')
  if (result) host.outcome = result
  host.slow = Number(query.get('slow') ?? 0)
  await settle()
  for (const press of query.getAll('press')) {
    const [test = '', value] = press.split('=')
    const node = document.querySelector<HTMLElement>(`[data-test="${test}"]`)
    if (value !== undefined && (node instanceof HTMLInputElement || node instanceof HTMLTextAreaElement)) {
      node.value = value
      node.dispatchEvent(new Event('input', { bubbles: true }))
    } else node?.click()
    await settle()
  }
}
