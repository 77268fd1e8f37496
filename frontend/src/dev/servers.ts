// Made-up servers for looking at the screens without a host: every state once.

import type { GuaranteeView, RemoteView, ServerView, ToolView } from '../lib/types'
import { filesystemTools, ticketTools } from './tools'

const MiB = 1024 * 1024
const plain = { cpu: 0, preset: '', demand: [], observe: false, never: [] }
const today = new Date().toISOString().slice(0, 10)
export const at = (time: string): string => `${today}T${time}Z`

const tried: [string, string][] = [
  ['fs.read', 'read /etc/shadow: EACCES'], ['net.loopback', 'bind 0.0.0.0: refused'], ['fs.write', 'write ~/x: EROFS'], ['ipc.unix', 'session bus: EPERM'],
  ['fs.metadata', 'chmod ~/.ssh: ENOENT'], ['limits.memory', '128 MiB, swap 0'], ['priv.none', 'unshare: EPERM'], ['limits.pids', '32 tasks'],
  ['env.clean', '5 variables, no secret'], ['limits.cpu', '1 core'], ['kill.tree', 'cgroup kill, 3 ms'], ['net.none', 'connect 192.0.2.1: ENETUNREACH'],
  ['exec.none', 'exec /bin/sh: EACCES'], ['proc.hide', '/proc shows 1 process'],
]
const all: GuaranteeView[] = tried.map(([name, detail]) => ({ name, state: 'enforced', detail }))
const weak: GuaranteeView[] = all.map((g) => (g.name === 'net.none' ? { ...g, state: 'not demanded', detail: '' } : g.name === 'exec.none' ? { ...g, state: 'missing', detail: 'starts curl' } : g.name === 'proc.hide' ? { ...g, state: 'missing', detail: 'no user namespace' } : g))

const started: ServerView['steps'] = [
  { name: 'files', tookMillis: 41, detail: '18 files', failed: false }, { name: 'sandbox', tookMillis: 12, detail: 'strong, 14 of 14 guarantees, process 40182', failed: false },
  { name: 'version', tookMillis: 310, detail: '2025-11-25, as it says', failed: false }, { name: 'session', tookMillis: 4, detail: 'Files 2026.8.31', failed: false }, { name: 'tools', tookMillis: 9, detail: '14 tools', failed: false },
]
function server(name: string, version: string, over: Partial<ServerView>): ServerView {
  return {
    name, version, title: name, protocol: '2025-11-25', source: `@example/mcp-${name}`, command: ['node', `/opt/servers/${name}/dist/index.js`], state: 'running', since: at('08:02:11'), detail: '', failure: null,
    pid: 40182, tier: 'strong', enforced: 14, demanded: 14, guarantees: all, triedAt: at('08:02:11'), profile: { read: [`/opt/servers/${name}`], write: [], net: 'none', hosts: [], privateHosts: [], reach: [], serve: [], memoryBytes: 128 * MiB, pids: 32, idleSeconds: 0, ...plain },
    usage: { memoryBytes: 61 * MiB, memoryMax: 128 * MiB, tasks: 11, tasksMax: 32, cpuMillis: 840, memoryWaits: 0, cpuWaits: 0, source: 'cgroup v2' }, pin: 'pinned', pinnedAt: at('08:00:00').replace(today, '2026-11-18'),
    pinDetail: '18 files match the pin of 2026-11-18.', tools: [], env: [], without: [], stderrLines: 0, frames: 0, wanted: 0, asks: 0, lent: [], removable: true, remote: null, prompts: [], reads: false, icons: 0, tells: false, steps: started, oddities: [], tasks: [], ...over,
  }
}
const idle = { pid: 0, usage: { memoryBytes: 0, memoryMax: 0, tasks: 0, tasksMax: 0, cpuMillis: 0, memoryWaits: 0, cpuWaits: 0, source: '' } }

const simple = (name: string, effect: ToolView['effect'], description: string, schema: object, effectBy = 'Cordon', callsToday = 0): ToolView => ({ name, title: '', description, effect, effectBy, schema: JSON.stringify(schema), pin: 'pinned', findings: [], callsToday })

const none = { read: [], write: [], net: 'none', hosts: [], privateHosts: [], reach: [], serve: [], memoryBytes: 0, pids: 0, idleSeconds: 0, ...plain }
/** One on another computer, with everything that a server can offer. */
export function remoteServer(name: string, remote: Partial<RemoteView> = {}, over: Partial<ServerView> = {}): ServerView {
  const triage = simple('triage', 'read', 'Triages a case in the order that the team agreed on.', { type: 'object', required: ['case'], properties: { case: { type: 'string', description: 'Number of the case, such as INC-2041' }, tone: { type: 'string' } }, additionalProperties: false })
  return server(name, '3', {
    ...idle, title: 'Case store', source: 'url', command: [], tier: 'remote', enforced: 0, demanded: 0, guarantees: [], triedAt: '', profile: none, stderrLines: 2, pinDetail: 'address and definitions match the pin of 2026-11-18', reads: true, icons: 1, tells: true,
    tools: [simple('search_cases', 'read', 'Searches the cases.', { type: 'object', required: ['text'], properties: { text: { type: 'string' } } }, 'Cordon', 4)], prompts: [triage, simple('handover', 'read', '', { type: 'object', properties: {}, required: [] })],
    remote: { url: `https://${name}.example:8443/mcp`, login: '', signedIn: true, issuer: 'https://login.corp.example/realms/soc', scopes: ['cases:read', 'cases:comment'], wanted: [], expires: at('17:45:00'), bound: true, open: false, nameless: false, privateHosts: [], ...remote }, ...over,
  })
}
const signedOut: Partial<RemoteView> = { signedIn: false, issuer: '', scopes: [], expires: '', bound: false }

export const servers: ServerView[] = [
  server('ticketing', '2.4.0', { ...idle, source: '@helpdesk/mcp-ticketing', state: 'quarantined', since: at('09:12:40'), pin: 'changed', pinDetail: 'Version 2.4.0 announced definitions that differ from the pinned ones of 2.3.1.', tools: ticketTools, without: ['its secrets', 'its hosts'], tier: 'strong', enforced: 13, demanded: 13 }),
  server('filesystem', '2026.8.31', { title: 'filesystem', source: '@modelcontextprotocol/server-filesystem', tools: filesystemTools, profile: { read: ['/home/analyst/cases/INC-2041'], write: ['/home/analyst/cases/INC-2041/notes'], net: 'none', hosts: [], privateHosts: [], reach: [], serve: [], memoryBytes: 256 * MiB, pids: 32, idleSeconds: 0, ...plain }, usage: { memoryBytes: 52 * MiB, memoryMax: 256 * MiB, tasks: 11, tasksMax: 32, cpuMillis: 412, memoryWaits: 0, cpuWaits: 0, source: 'cgroup v2' }, stderrLines: 2, command: ['node', '/opt/servers/filesystem/dist/index.js', '/home/analyst/cases/INC-2041'] }),
  server('sentinel', '3.2.0', { source: '@siem/mcp-sentinel', tier: 'strong', enforced: 13, demanded: 13, env: [{ name: 'AZURE_TOKEN', value: '', secret: 'sentinel-reader' }, { name: 'NODE_ENV', value: 'production', secret: '' }], usage: { memoryBytes: 84 * MiB, memoryMax: 256 * MiB, tasks: 12, tasksMax: 32, cpuMillis: 6400, memoryWaits: 0, cpuWaits: 0, source: 'cgroup v2' }, tools: [
    simple('query', 'costly', 'Runs KQL on the workspace and returns rows.', { type: 'object', required: ['query', 'from', 'to'], properties: { from: { type: 'string', description: 'Start of the range, UTC' }, to: { type: 'string', description: 'End of the range, UTC' }, query: { type: 'string', description: 'KQL query', maxLength: 10000 }, rowCap: { type: 'integer', minimum: 1, maximum: 5000, default: 500, description: 'Most rows to return.' }, workspace: { enum: ['soc-prod', 'soc-test'], default: 'soc-prod' }, keep: { type: 'boolean', default: true, description: 'Keep the result in a local table' }, columns: { type: 'array', items: { type: 'string' }, description: 'Only these columns.' }, options: { type: 'object', description: 'Server options', properties: { timeout: { type: 'integer' } } } } }, 'Cordon', 12),
    simple('list_tables', 'read', 'Lists the tables of the workspace.', { type: 'object', properties: {} }, 'Cordon', 3),
  ] }),
  server('http-fetch', '0.6.2', { source: '@web/mcp-http-fetch', tier: 'weakened', enforced: 11, demanded: 13, guarantees: weak, detail: 'You allowed it on 2026-11-20, until 2026-12-20, to fetch from any host.', profile: { read: [], write: [], net: 'hosts', hosts: ['*.example.org:443', 'intel.example.net:443'], privateHosts: ['proxy.corp.example:8080'], reach: [9200], serve: [8080], memoryBytes: 128 * MiB, pids: 32, idleSeconds: 0, ...plain }, stderrLines: 118, frames: 6, wanted: 5, asks: 4, lent: ['read /home/analyst/cases/INC-2041/mail'], usage: { memoryBytes: 44 * MiB, memoryMax: 128 * MiB, tasks: 29, tasksMax: 32, cpuMillis: 1210, memoryWaits: 12, cpuWaits: 0, source: 'cgroup v2' }, tools: [
    simple('get', 'disclose', 'Fetches one address', { type: 'object', required: ['url'], properties: { url: { type: 'string' } } }, 'Cordon', 31),
    simple('post', 'disclose', 'Sends a body to one address', { type: 'object', required: ['url', 'body'], properties: { url: { type: 'string' }, body: { type: 'string', description: 'Body text' } } }, 'Cordon; server said read'),
  ] }),
  server('memory-graph', '2026.8.31', { ...idle, source: '@modelcontextprotocol/server-memory', state: 'stopped', since: '', pin: 'new', pinnedAt: '', pinDetail: 'Not approved yet.', tier: '', enforced: 0, demanded: 13, guarantees: [], triedAt: '', tools: filesystemTools.slice(0, 4).map((t) => ({ ...t, pin: 'new' })) }),
  server('edr', '1.9.3', { ...idle, state: 'starting', since: at('09:47:58'), detail: 'waiting for its tools', stderrLines: 0, tools: [] }),
  server('virustotal', '0.9.4', { ...idle, state: 'crashed', since: at('09:40:02'), failure: { code: 'CRD-SRV-07', what: 'virustotal did not start: it printed a line that is not JSON.', means: 'It cannot be called. Nothing was sent to it.', fix: 'Look at its log: the line is the last one there. A newer version may print to standard error instead.' }, stderrLines: 3, tools: [simple('lookup_hash', 'disclose', 'Looks up a hash', { type: 'object', required: ['hash'], properties: { hash: { type: 'string' } } })] }),
  server('browser-tools', '5.0.1', { ...idle, state: 'refused', since: '', detail: 'needs user namespaces inside', tier: 'refused', enforced: 10, demanded: 14, guarantees: weak, triedAt: '', failure: { code: 'CRD-SBX-04', what: 'browser-tools needs user namespaces of its own.', means: 'Its profile demands priv.none, which the browser cannot start under. Cordon refused it, as intended.', fix: 'Use a browser server that runs without its own sandbox, or leave it off.' } }),
  server('whois', '1.2.0', { ...idle, state: 'idle', since: at('09:31:40'), detail: 'It sleeps and starts at the next call.', profile: { read: [], write: [], net: 'none', hosts: [], privateHosts: [], reach: [], serve: [], memoryBytes: 128 * MiB, pids: 32, idleSeconds: 600, ...plain }, tools: [simple('lookup_domain', 'read', 'Looks a domain up in a local copy', { type: 'object', required: ['domain'], properties: { domain: { type: 'string' } } })] }),
  remoteServer('cases'),
  remoteServer('intel', { ...signedOut, url: 'https://mcp.intel.example/v1' }, { state: 'sign-in needed', tier: '', pin: 'new', pinnedAt: '', pinDetail: 'nobody has reviewed it yet', tools: [], prompts: [], reads: false, title: '', version: '', protocol: '', failure: { code: 'CRD-NET-01', what: 'intel: it wants to know who calls: somebody has to sign in at login.intel.example', means: 'The server wants to know who calls. Nothing was sent but the question.', fix: 'Press Sign in; the page that opens is shown first.' } }),
  remoteServer('openbook', { ...signedOut, url: 'https://openbook.example/mcp', nameless: true }, { state: 'crashed', tier: '', pin: 'new', pinnedAt: '', pinDetail: 'nobody has reviewed it yet', tools: [], prompts: [], reads: false, title: '', version: '', protocol: '', failure: { code: 'CRD-NET-03', what: 'openbook: it does not want to know who calls, so everybody may call it and nobody vouches for it; allow that if it is meant to be so', means: 'Cordon left it before anything was called.', fix: 'Allow it if you know this server and it is meant to be open.' } }),
  server('detections', '1.4.0', { state: 'degraded', detail: 'rule index is 3 days old', removable: false, source: 'bundled', tools: [simple('search_rules', 'read', 'Searches the detection rules.', { type: 'object', required: ['text'], properties: { text: { type: 'string' }, limit: { type: 'number' } } }, 'Cordon', 8)] }),
]

export function manyServers(): ServerView[] {
  return [...servers, ...Array.from({ length: 60 }, (_, i) => server(`collector-${String(i + 1).padStart(2, '0')}`, `1.${i}.0`, i % 3 === 0 ? { ...idle, state: 'stopped', since: '' } : {}))]
}
