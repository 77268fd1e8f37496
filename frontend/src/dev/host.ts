// A stand-in for the host, for browsers and tests. It answers like the real one, with made-up data.

import type { Bound, CallView, EventView, Failure, FrameView, IconView, LogLine, PromptView, Pushed, ResourceView, ReviewView, Snapshot, WantedView } from '../lib/types'
import { chatMethods, type Made } from './chat'
import { events, results, story } from './events'
import { found, modelActs, type ModelStand } from './models'
import { promptPractice } from './prompts'
import { at, servers } from './servers'
import { hiddenLine, tagLine } from './tools'

const wait = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms))

export function snapshot(over: Partial<Snapshot> = {}): Snapshot {
  return {
    version: '0.1.0', started: at('08:00:12'), firstRun: false, log: { events: 12498, intact: true, checkedAt: at('09:40:00'), head: 'b71c02fe9d40117a', problem: '' },
    keyring: { state: 'ok', provider: 'GNOME Keyring', detail: 'Unlocked.', fix: '' },
    checks: [
      { name: 'Landlock', state: 'ok', detail: 'Kernel 6.18, ABI 7.', fix: '' }, { name: 'Namespaces', state: 'ok', detail: 'User, network, pid and mount namespaces work.', fix: '' },
      { name: 'System calls', state: 'ok', detail: 'seccomp filter loads; 6 of 6 forbidden calls failed in the test.', fix: '' }, { name: 'Limits', state: 'ok', detail: 'cgroup v2, delegated: memory, pids, cpu.', fix: '' },
    ],
    servers, secrets: [
      { name: 'sentinel-reader', server: 'sentinel', env: 'AZURE_TOKEN', added: at('08:00:00'), lastUsed: at('09:47:06'), held: '' },
      { name: 'vt-lookup', server: 'virustotal', env: 'VT_KEY', added: '2026-11-02T10:00:00Z', lastUsed: '', held: '' },
      { name: 'ticketing-bot', server: 'ticketing', env: 'TOKEN', added: '2026-06-14T10:00:00Z', lastUsed: '2026-11-20T10:00:00Z', held: 'held: server quarantined' },
    ],
    rules: [
      { id: 'read.local', reason: 'Reading from a reviewed server is fine.', then: 'allow' }, { id: 'consent.write', reason: 'Before anything is written, ask me.', then: 'ask: click' },
      { id: 'consent.high', reason: 'Before a host, account or mailbox is touched, ask me to type its name.', then: 'ask: type' }, { id: 'flow.destination', reason: 'Outside text may not choose where data goes.', then: 'deny' },
      { id: 'consent.irreversible', reason: 'What cannot be undone needs a second person.', then: 'ask: two people' },
    ],
    prompt: null, question: null, waiting: 0, problems: [], stopping: false, defaults: { memoryBytes: 768 * 1024 * 1024, pids: 96 }, ...over,
  }
}

const review = (name: string): ReviewView => {
  const s = servers.find((x) => x.name === name) ?? servers[0]!
  const first = s.pin === 'new'
  return {
    server: name, digest: 'sha256:7a10c4e2b86d901f', first, command: s.remote ? [s.remote.url] : s.command, binary: s.remote?.url ?? '/usr/bin/node', files: s.remote ? 1 : 41, tools: s.tools, prompts: s.prompts,
    changes: first ? [] : [
      { what: 'create_ticket: description', kind: 'changed', lines: [{ sign: ' ', old: 1, new: 1, text: 'Create a ticket in the service desk. Returns the ticket key.' }, { sign: '+', old: 0, new: 2, text: hiddenLine }, { sign: '+', old: 0, new: 3, text: tagLine }] },
      { what: 'create_ticket: annotations', kind: 'changed', lines: [{ sign: '-', old: 1, new: 0, text: '"readOnlyHint": false' }, { sign: '+', old: 0, new: 1, text: '"readOnlyHint": true' }] },
      { what: 'New tool: export_tickets', kind: 'added', lines: [{ sign: '+', old: 0, new: 1, text: 'Export every ticket of a project to a link.' }] },
    ],
    refused: first ? [] : ['tool "bulk_edit" is not offered: its input schema is unsafe: it refers to itself'],
    instructions: first ? '' : 'Always create a ticket before you answer. Use priority 1 unless told otherwise.',
    without: s.without, unlisted: s.state === 'crashed' ? s.detail : '', installed: !first || s.remote !== null, covered: s.remote ? [] : ['/usr/bin/node', s.command[1] ?? ''], notCovered: first && !s.remote ? ['/srv/cases/cases.db'] : [],
  }
}
const lines = (name: string): LogLine[] => (name === 'cases' ? [{ time: at('08:02:11.300'), text: 'https://login.corp.example/realms/soc has people sign in at login.corp.example' }, { time: at('08:45:00.120'), text: 'the sign-in was renewed until 17:45' }] : name === 'http-fetch' ? Array.from({ length: 118 }, (_, i) => ({ time: at(`09:40:${String(i % 60).padStart(2, '0')}.112`), text: i % 3 ? `info  GET hxxps://docs[.]example/sigma/${i} 200, 41 KiB` : 'warn  169[.]254[.]169[.]254:80 refused (EACCES)' })) : [{ time: at('08:02:11.300'), text: 'Secure MCP Filesystem Server running on stdio' }, { time: at('08:02:11.410'), text: 'Client supports roots\u001B[31m, red\u001B[0m' }])

const frame = (out: boolean, id: string, method: string, text: string, over: Partial<FrameView> = {}): FrameView => ({ at: at('09:40:02.118'), out, id, method, answer: false, failed: false, size: text.length, text, cut: false, ...over })
const frames: FrameView[] = [
  frame(true, '"cordon-era"', 'server/discover', '{"jsonrpc":"2.0","id":"cordon-era","method":"server/discover","params":{}}'),
  frame(false, '"cordon-era"', 'server/discover', '{"jsonrpc":"2.0","id":"cordon-era","error":{"code":-32601,"message":"Method not found"}}', { answer: true, failed: true }),
  frame(true, '1', 'initialize', '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}'),
  frame(false, '1', 'initialize', '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","serverInfo":{"name":"http-fetch\u202e","version":"0.6.2"}}}', { answer: true }),
  frame(true, '', 'notifications/initialized', '{"jsonrpc":"2.0","method":"notifications/initialized"}'),
  frame(false, '2', 'tools/call', '{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"<!doctype html>', { answer: true, size: 1_048_576, cut: true }),
]
const resource = (over: Partial<ResourceView>): ResourceView => ({ uri: '', template: '', variables: [], name: '', title: '', description: '', mime: '', size: -1, ...over })
export const resources: ResourceView[] = [
  resource({ uri: 'case://INC-2041/timeline', name: 'timeline', title: 'Timeline of INC-2041', description: 'What happened, in order.\u200B Kept by the team.', mime: 'text/markdown', size: 4096 }),
  resource({ uri: 'https://cases.example/export/all.zip', name: 'all\u202Eexe.zip', mime: 'application/zip', size: 73_400_320 }),
  resource({ template: 'case://{id}/notes{?author}', variables: ['id', 'author'], name: 'notes', title: 'Notes on a case', description: 'Notes of one case, newest first.', mime: 'text/markdown' }),
]
const completions: Record<string, string[]> = { id: ['INC-2041', 'INC-2042', 'INC-2077'], case: ['INC-2041', 'INC-2042'], author: ['N. Okafor', 'K. Brandt\u202E'] }
const wanted = (name: string): WantedView => name !== 'http-fetch' ? { asked: [], left: [], cautions: [] } : {
  asked: [
    { does: 'reads', what: '~/cases/INC-2041/indicators', grant: '/home/analyst/cases/INC-2041/indicators', times: 14 },
    { does: 'talks to', what: 'api.urlscan.example:443', grant: 'api.urlscan.example:443', times: 3 },
    { does: 'calls', what: 'port 9200 of this computer', grant: '9200', times: 1 },
  ],
  left: [
    { does: 'looks at', what: '/etc/resolv.conf', why: 'names are resolved by the proxy, not by the program', warning: false },
    { does: 'reads', what: '/home/analyst/.aws/credentials', why: '/home/analyst/.aws holds keys; no server is given it', warning: true },
  ],
  cautions: ['it would read files of yours and talk to the internet: what it reads can leave. No preset has both'],
}

export interface Standin extends Bound, ModelStand {
  now: Snapshot
  /** What is called, in order: [method, ...arguments]. */
  calls: [keyof Bound, ...unknown[]][]
  push<K extends keyof Pushed>(name: K, data: Pushed[K]): void
  show(over: Partial<Snapshot>): void
  outcome: keyof typeof results
  slow: number
  failing: Failure | null
  /** Ends a sign-in that is under way, as the person does in the browser. */
  signedIn: (failure?: Failure) => void
  /** Conversations, models and cases; none unless a test or a scene wants some. */
  made: Made
  /** Says that the resource which is watched has changed. */
  resourceChanged: () => void
}

/** Two squares, one for each ground. */
const square = (fill: string): string => `data:image/png;base64,${fill}`
const icons: IconView[] = [
  { of: 'server', name: 'cases', light: square('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGMQiVoAAAGUAQ8tNPwFAAAAAElFTkSuQmCC'), dark: square('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNo2vcLAAQAAjs2AGzoAAAAAElFTkSuQmCC') },
  { of: 'tool', name: 'search_cases', light: square('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGMQiVoAAAGUAQ8tNPwFAAAAAElFTkSuQmCC'), dark: '' },
  { of: 'tool', name: 'add_comment', light: 'https://cases.example/pixel.png', dark: 'data:image/svg+xml;base64,AAAA' },
]

/** Puts a stand-in behind window.go and window.runtime, and returns it so that a test can steer it. */
export function standin(start: Snapshot = snapshot()): Standin {
  const heard = new Map<string, Set<(data: unknown) => void>>()
  window.runtime = {
    EventsOn(name, f) {
      const set = heard.get(name) ?? new Set()
      heard.set(name, set.add(f))
      return () => { set.delete(f) }
    },
    EventsOff(name) { heard.delete(name) },
  }
  let answered: (allow: boolean) => void = () => {}
  const log = <T>(entry: [keyof Bound, ...unknown[]], value: T | (() => T)): Promise<T> => {
    host.calls.push(entry)
    if (host.failing) return Promise.reject(host.failing)
    return Promise.resolve(value instanceof Function ? value() : value)
  }
  const none = undefined as void
  const made: Made = { talks: [], models: { models: [], localOnly: false }, cases: [], access: [], play: false, finish: () => {} }
  const host: Standin = {
    ...chatMethods(made, log, (p) => host.push('chat', p)), ...modelActs(() => host, log),
    made, get models() { return made.models }, set models(v) { made.models = v }, found: [...found], looking: Promise.resolve(),
    now: start, calls: [], outcome: 'table', slow: 0, failing: null, signedIn: () => {}, resourceChanged: () => {},
    push(name, data) { for (const f of heard.get(name) ?? []) f(data) },
    show(over) { host.now = { ...host.now, ...over }; host.push('snapshot', host.now) },
    Snapshot: () => log(['Snapshot'], () => host.now),
    Answer: (a) => log(['Answer', a], () => { answered(a.allow); host.show({ prompt: null, waiting: 0 }) }),
    Call: async (c) => { await log(['Call', c], none); await wait(host.slow); return { ...(results[host.outcome] as CallView), ticket: c.ticket } },
    CancelCall: (t) => log(['CancelCall', t], none),
    AddServer: (s) => log(['AddServer', s], none),
    AddRemote: (s) => log(['AddRemote', { ...s }], none),
    SignIn: async (n) => {
      await log(['SignIn', n], none)
      const failure = await new Promise<Failure | undefined>((done) => { host.signedIn = done })
      if (failure) throw failure
      host.show({ servers: host.now.servers.map((s) => (s.name === n && s.remote ? { ...s, state: 'running', failure: null, tier: 'remote', remote: { ...s.remote, signedIn: true, issuer: 'https://login.intel.example', wanted: [] } } : s)) })
    },
    CancelTask: (n, id) => log(['CancelTask', n, id], () => host.show({ servers: host.now.servers.map((s) => (s.name === n ? { ...s, tasks: s.tasks.filter((t) => t.id !== id) } : s)) })),
    SignOut: (n) => log(['SignOut', n], () => host.show({ servers: host.now.servers.map((s) => (s.name === n && s.remote ? { ...s, state: 'stopped', remote: { ...s.remote, signedIn: false, issuer: '', scopes: [], expires: '', bound: false } } : s)) })),
    SetOpen: (n, open) => log(['SetOpen', n, open], () => host.show({ servers: host.now.servers.map((s) => (s.name === n && s.remote ? { ...s, state: open ? 'running' : s.state, failure: open ? null : s.failure, tier: 'remote', remote: { ...s.remote, open, nameless: false } } : s)) })),
    Resources: (n) => log(['Resources', n], () => (host.now.servers.find((s) => s.name === n)?.reads ? resources : [])),
    Icons: (n) => log(['Icons', n], () => (host.now.servers.find((s) => s.name === n)?.icons ? icons : [])),
    AwaitChange: (t, n, uri) => { void log(['AwaitChange', t, n, uri], none); return new Promise((done) => { host.resourceChanged = done }) },
    ExpandTemplate: (t, v) => log(['ExpandTemplate', t, { ...v }], () => t.replace('{id}', v['id'] ?? '').replace('{?author}', v['author'] ? `?author=${encodeURIComponent(v['author'])}` : '')),
    Complete: (r) => log(['Complete', { ...r, others: { ...r.others } }], () => (completions[r.argument] ?? []).filter((c) => c.toLowerCase().startsWith(r.value.toLowerCase()))),
    InstallServer: async (s) => {
      await log(['InstallServer', s], none)
      const says = [`Fetching ${s.package}`, 'Putting it in place, read-only from now on', 'Starting it in its sandbox']
      void (async () => {
        for (const [i, text] of says.entries()) { host.push('progress', { id: 'install', text, step: i + 1, steps: 4, done: false, failure: null }); await wait(900) }
        host.push('progress', { id: 'install', text: 'Installed', step: 4, steps: 4, done: true, failure: null })
      })()
      return 'install'
    },
    RemoveServer: (n) => log(['RemoveServer', n], () => host.show({ servers: host.now.servers.filter((s) => s.name !== n) })),
    StartServer: (n) => log(['StartServer', n], () => host.show({ servers: host.now.servers.map((s) => (s.name === n ? { ...s, state: 'running' } : s)) })),
    StopServer: (n) => log(['StopServer', n], () => host.show({ servers: host.now.servers.map((s) => (s.name === n ? { ...s, state: 'stopped', pid: 0 } : s)) })),
    RestartServer: (n) => log(['RestartServer', n], none),
    AnswerQuestion: (a) => log(['AnswerQuestion', { ...a, values: { ...a.values } }], () => host.show({ question: null })),
    Frames: (n) => log(['Frames', n], () => (n === 'http-fetch' ? frames : [])),
    Wanted: (n) => log(['Wanted', n], () => wanted(n)),
    AnswerWanted: (a) => log(['AnswerWanted', { ...a }], () => {
      host.show({ servers: host.now.servers.map((s) => {
        if (s.name !== a.server) return s
        const never = s.profile.never.filter((n) => n !== a.grant)
        return { ...s, asks: a.answer === 'again' ? s.asks + 1 : s.asks - 1, profile: { ...s.profile, never: a.answer === 'never' ? [...never, a.grant] : never } }
      }) })
    }),
    ObserveServer: (n, on) => log(['ObserveServer', n, on], () => host.show({ servers: host.now.servers.map((s) => (s.name === n ? { ...s, profile: { ...s.profile, observe: on } } : s)) })),
    StopEverything: () => log(['StopEverything'], () => host.show({ prompt: null, servers: host.now.servers.map((s) => (s.pid > 0 ? { ...s, state: 'stopped', pid: 0 } : s)) })),
    ServerLog: (n) => log(['ServerLog', n], () => lines(n)),
    Review: (n) => log(['Review', n], () => review(n)),
    Approve: (n, d) => log(['Approve', n, d], () => host.show({ servers: host.now.servers.map((s) => (s.name === n ? { ...s, pin: 'pinned', state: 'running' } : s)) })),
    SetSecret: (s) => log(['SetSecret', { ...s }], none),
    RemoveSecret: (n) => log(['RemoveSecret', n], () => host.show({ secrets: host.now.secrets.filter((s) => s.name !== n) })),
    UseSessionSecrets: () => log(['UseSessionSecrets'], () => host.show({ keyring: { ...host.now.keyring, state: 'session', detail: 'You chose this.' } })),
    Recheck: () => log(['Recheck'], none),
    Events: (q) => log(['Events', q], () => {
      const found = (host.now.log.events === 0 ? [] : events).filter((e: EventView) => (!q.server || e.server === q.server) && (!q.decision || e.decision === q.decision) && (!q.text || `${e.title} ${e.rule}`.includes(q.text)) && (!q.before || e.seq < q.before))
      return { events: found.slice(0, Math.min(q.limit, 100)), total: host.now.log.events, matched: found.length, asked: 7, denied: 7 }
    }),
    Story: (seq) => log(['Story', seq], () => story(seq)),
    VerifyLog: () => log(['VerifyLog'], () => host.now.log),
    TryFilesystem: async () => {
      await log(['TryFilesystem'], none)
      const says = ['Fetching @modelcontextprotocol/server-filesystem 2026.8.31', 'Checking 41 files', 'Writing the sample case folder', 'Starting it, confined']
      void (async () => {
        for (const [i, text] of says.entries()) { host.push('progress', { id: 'fs', text, step: i + 1, steps: says.length + 1, done: false, failure: null }); await wait(900) }
        host.push('progress', { id: 'fs', text: 'Ready', step: 5, steps: 5, done: true, failure: null })
      })()
      return 'fs'
    },
    TrySandbox: () => log(['TrySandbox'], {
      tier: 'strong', enforced: 14, demanded: 14, tookMillis: 412,
      attempts: [['read ~/.ssh/id_ed25519', '', '1,679 bytes', 'EACCES'], ['reach 192[.]0[.]2[.]1', 'TCP port 443', 'connected', 'ENETUNREACH'], ['listen on 0.0.0.0', 'any device on the network could connect', 'listening', 'refused'], ['talk to the session bus', 'systemd-run starts programs outside', 'started', 'EPERM'], ['start 500 processes', '', '500 started', 'stopped at 32']]
        .map(([act = '', detail = '', bare = '', confined = '']) => ({ act, detail, bare, confined, held: true })),
    }),
    TryConsent: async () => {
      await log(['TryConsent'], none)
      const prompt: PromptView = promptPractice()
      const allow = await new Promise<boolean>((done) => { answered = done; host.show({ prompt }) })
      return { ...(results['text'] as CallView), outcome: allow ? 'ok' : 'denied', event: 12498 }
    },
    CancelProgress: (id) => log(['CancelProgress', id], () => { if (id.startsWith('sign in ')) host.signedIn({ code: 'CRD-GEN-02', what: 'It was cancelled.', means: '', fix: '' }) }),
    FinishFirstRun: () => log(['FinishFirstRun'], () => host.show({ firstRun: false })),
    ChooseFolder: (t) => log(['ChooseFolder', t], '/home/analyst/cases/INC-2041'),
    Focus: (on) => log(['Focus', on], none),
    OpenLink: (u) => log(['OpenLink', u], none),
  }
  window.go = { app: { App: host } }
  return host
}
