// What can be written besides a question: "/" begins a command, "@" names a server or a tool.

import type { IconName } from './icons'
import type { ResourceView, ServerView } from './types'

/** One thing that is offered while one writes. `put` takes the place of what was written from `from` on. */
export interface Offer { icon: IconName; label: string; side: string; put: string; does?: Command }
export interface Offered { from: number; offers: Offer[] }
export type Command =
  | { kind: 'run'; server: string; tool: string }
  | { kind: 'call'; server: string; tool: string; args: string }
  | { kind: 'prompt'; server: string; prompt: string; asks: boolean }
  | { kind: 'resource'; server: string; resource: ResourceView }

export interface Known { servers: readonly ServerView[]; resources: readonly { server: string; resource: ResourceView }[] }

const most = 50
const verbs: [string, IconName, string][] = [
  ['/run', 'run', 'opens a tool on the Run screen'], ['/tool', 'terminal', 'calls a tool with arguments as JSON'], ['/prompt', 'chat', 'fetches a prompt of a server'], ['/resource', 'attach', 'attaches a resource of a server'],
]
const usable = (s: ServerView): boolean => s.pin === 'pinned' && !['quarantined', 'refused'].includes(s.state)
const has = (text: string, part: string): boolean => text.toLowerCase().includes(part.toLowerCase())

/** What fits to the text before the caret, or null. */
export function offered(before: string, known: Known): Offered | null {
  const servers = known.servers.filter(usable)
  const tools = servers.flatMap((s) => s.tools.map((t) => ({ server: s.name, tool: t.name, effect: t.effect })))
  const list = (from: number, offers: Offer[]): Offered | null => (offers.length > 0 ? { from, offers: offers.slice(0, most) } : null)

  if (/^\/\w*$/.test(before)) return list(0, verbs.filter(([v]) => v.startsWith(before.toLowerCase())).map(([v, icon, side]) => ({ icon, label: v, side, put: `${v} ` })))
  const verb = /^\/(run|tool|prompt|resource)\s+(\S*)$/i.exec(before)
  if (verb) {
    const [whole, name = '', part = ''] = verb
    const from = whole.length - part.length
    switch (name.toLowerCase()) {
      case 'run': return list(from, tools.filter((t) => has(`${t.server}.${t.tool}`, part)).map((t) => ({ icon: 'run', label: `${t.server}.${t.tool}`, side: t.effect, put: '', does: { kind: 'run', server: t.server, tool: t.tool } })))
      case 'tool': return list(from, tools.filter((t) => has(`${t.server}.${t.tool}`, part)).map((t) => ({ icon: 'terminal', label: `${t.server}.${t.tool}`, side: t.effect, put: `${t.server}.${t.tool} {}` })))
      case 'prompt': return list(from, servers.flatMap((s) => s.prompts.filter((p) => has(`${s.name}.${p.name}`, part)).map((p): Offer => ({ icon: 'chat', label: `${s.name}.${p.name}`, side: needs(p.schema) ? 'asks for arguments' : 'prompt', put: '', does: { kind: 'prompt', server: s.name, prompt: p.name, asks: needs(p.schema) } }))))
      default: return list(from, known.resources.filter((r) => r.resource.uri !== '' && has(`${r.server} ${r.resource.name} ${r.resource.uri}`, part)).map(({ server, resource }) => ({ icon: 'attach', label: resource.name || resource.uri, side: server, put: '', does: { kind: 'resource', server, resource } })))
    }
  }
  const at = /(?:^|[\s(])@([\w.-]*)$/.exec(before)
  if (!at) return null
  const part = at[1] ?? ''
  return list(before.length - part.length - 1, [
    ...servers.filter((s) => has(s.name, part)).map((s): Offer => ({ icon: 'servers', label: s.name, side: 'server', put: `${s.name} ` })),
    ...tools.filter((t) => has(`${t.server}.${t.tool}`, part)).map((t): Offer => ({ icon: 'run', label: `${t.server}.${t.tool}`, side: t.effect, put: `${t.server}.${t.tool} ` })),
  ])
}
function needs(schema: string): boolean {
  try {
    const s: unknown = JSON.parse(schema)
    return typeof s === 'object' && s !== null && 'required' in s && Array.isArray(s.required) && s.required.length > 0
  } catch {
    return false
  }
}

/** What a whole text commands: null if it is a question (a path such as /etc/passwd is none), a sentence if it is no command that can be carried out. */
export function commanded(text: string, known: Known): Command | string | null {
  const m = /^\/(\w+)(?=\s|$)(?:\s+([^\s{]+))?\s*([^]*)$/.exec(text.trim())
  if (!m) return null
  const [, verb = '', name = '', rest = ''] = m
  if (!['run', 'tool', 'prompt', 'resource'].includes(verb)) return `There is no command /${verb}. There are /run, /tool, /prompt and /resource.`
  if (verb === 'resource') {
    const r = known.resources.find((x) => x.resource.uri === name || x.resource.name === name)
    return r ? { kind: 'resource', ...r } : 'Choose a resource from the list that /resource shows.'
  }
  const server = known.servers.find((s) => name.startsWith(`${s.name}.`))
  if (!server) return `Write a server and what it has, such as /${verb} ${known.servers[0]?.name ?? 'server'}.name.`
  const of = name.slice(server.name.length + 1)
  if (!usable(server)) return `${server.name} may not be called as it is now.`
  if (verb === 'prompt') {
    const p = server.prompts.find((x) => x.name === of)
    return p ? { kind: 'prompt', server: server.name, prompt: of, asks: needs(p.schema) } : `${server.name} has no prompt ${of}.`
  }
  if (!server.tools.some((t) => t.name === of)) return `${server.name} has no tool ${of}.`
  if (verb === 'run') return { kind: 'run', server: server.name, tool: of }
  try {
    const args: unknown = JSON.parse(rest.trim() || '{}')
    if (typeof args !== 'object' || args === null || Array.isArray(args)) return 'The arguments of a tool are an object: {"name": "value"}.'
  } catch {
    return 'The arguments are not JSON: they look like {"name": "value"}.'
  }
  return { kind: 'call', server: server.name, tool: of, args: rest.trim() || '{}' }
}

/** Largest text and image that can go with a question. The host draws images anew, no larger than models look at. */
export const mostFile = 1024 * 1024
export const mostImage = 16 * mostFile
const bytesOf = (file: File): Promise<ArrayBuffer> => new Promise((done, fail) => {
  const r = new FileReader()
  r.onload = () => (typeof r.result === 'object' && r.result ? done(r.result) : fail(new Error('no bytes')))
  r.onerror = () => fail(new Error(`${file.name} cannot be read`))
  r.readAsArrayBuffer(file)
})
const begins = (b: Uint8Array, ...with_: number[]): boolean => with_.every((x, i) => b[i] === x)
/** In base64. */
function encoded(b: Uint8Array): string {
  let s = ''
  for (let i = 0; i < b.length; i += 0x8000) s += String.fromCharCode(...b.subarray(i, i + 0x8000))
  return btoa(s)
}
/** What goes with a question of a file: its text, or an image in base64; or a sentence that says why it cannot. What it is, its bytes say. */
export async function contentOf(file: File): Promise<{ text: string; image: string } | { no: string }> {
  if (file.size > mostImage) return { no: `${file.name} is larger than 16 MiB. Attach the part that matters.` }
  try {
    const all = new Uint8Array(await bytesOf(file))
    if (begins(all, 0x89, 0x50, 0x4e, 0x47) || begins(all, 0xff, 0xd8, 0xff)) return { text: '', image: encoded(all) }
    if (file.size > mostFile) return { no: `${file.name} is larger than 1 MiB. Attach the part that matters.` }
    const text = new TextDecoder(begins(all, 0xff, 0xfe) ? 'utf-16le' : begins(all, 0xfe, 0xff) ? 'utf-16be' : 'utf-8', { fatal: true }).decode(all)
    if (!text.includes('\0')) return { text, image: '' }
  } catch { /* it is said below */ }
  return { no: `${file.name} is neither text in UTF-8 or UTF-16 nor a PNG or JPEG image. Nothing else can be attached.` }
}
