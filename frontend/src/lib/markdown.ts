// Markdown that a model wrote, as plain data. It is hostile input: nothing here becomes HTML, raw HTML stays text, and every
// size is bounded, so that no text can make the window wait. The text is cut into blocks line by line, which is cheap and
// lets a growing answer keep its earlier blocks; only then marked reads each block, and only if the block is no trap.

import { Marked, type MarkedToken, type Token, type Tokens } from 'marked'

export type Inline =
  | { kind: 'text'; text: string }
  | { kind: 'code'; text: string }
  | { kind: 'strong'; nodes: Inline[] }
  | { kind: 'em'; nodes: Inline[] }
  | { kind: 'del'; nodes: Inline[] }
  | { kind: 'cite'; number: number; text: string }
  | { kind: 'link'; text: string; url: string; bare: boolean }
  | { kind: 'image'; alt: string; url: string }
  | { kind: 'break' }
export interface Item { task: 'no' | 'open' | 'done'; blocks: Node[] }
export interface Cell { nodes: Inline[]; align: 'start' | 'center' | 'end' }
export type Node =
  | { kind: 'para'; nodes: Inline[] }
  | { kind: 'tight'; nodes: Inline[] }
  | { kind: 'heading'; level: number; nodes: Inline[] }
  | { kind: 'list'; ordered: boolean; start: number; items: Item[] }
  | { kind: 'table'; head: Cell[]; rows: Cell[][] }
  | { kind: 'code'; lang: string; text: string }
  | { kind: 'quote'; blocks: Node[] }
  | { kind: 'rule' }
  | { kind: 'plain'; text: string }
/** A stretch of the text between two blank lines, or one fence. `key` stays while the text grows. */
export interface Block { key: number; raw: string; nodes: Node[] }

/** So much is read as Markdown; what comes after is shown as plain text. */
export const mostText = 250_000
/** A longer block that is not code is shown as it was written. */
export const mostBlock = 12_000
/** So deep may lists and quotes lie in each other. */
export const mostDepth = 12
/** A block with more of one sign that opens something is shown as it was written: such runs cost the square of their length. */
export const mostSigns = 600
/** A block with a longer word is shown as it was written: looking for addresses in it costs the square of its length. */
export const mostWord = 2000
/** So many blocks are drawn as Markdown. */
export const mostBlocks = 4000

// HTML and link definitions are text like any other.
const never = (): undefined => undefined
const marked = new Marked({ gfm: true, tokenizer: { html: never, tag: never, def: never } })

const fence = /^( {0,3})(`{3,}|~{3,})([^\n]*)$/
const marker = /^\s*(?:[-+*]|\d{1,9}[.)])(?:\s|$)/
const container = /^[ \t]*(?:>|[-+*](?=[ \t])|\d{1,9}[.)](?=[ \t]))/

/** Whether marked could take long over a block, or go deep. Linear in its length. */
export function trap(raw: string): boolean {
  if (raw.length > mostBlock || new RegExp(`\\S{${mostWord}}`).test(raw)) return true
  const signs: Record<string, number> = {}
  for (const c of raw) {
    if (!'*_~[]()<>!`|\\$&:'.includes(c)) continue
    const n = (signs[c] ?? 0) + 1
    if (n > (c === '|' || c === ':' ? mostSigns * 5 : mostSigns)) return true
    signs[c] = n
  }
  for (const line of raw.split('\n')) {
    const indent = line.length - line.trimStart().length
    let depth = indent / 2
    let rest = line
    for (let m = container.exec(rest); m; m = container.exec(rest)) {
      rest = rest.slice(m[0].length)
      if (++depth > 2 * mostDepth) return true
    }
    if (indent / 2 > 2 * mostDepth && marker.test(line)) return true
  }
  return false
}

/** Reads one block. Never throws, never takes longer than its bounded size allows. */
export function read(raw: string): Node[] {
  const first = fence.exec(raw.slice(0, raw.indexOf('\n') < 0 ? raw.length : raw.indexOf('\n')))
  if (first && !(first[2]?.startsWith('`') && first[3]?.includes('`'))) return [fenced(raw, first)]
  if (trap(raw)) return [{ kind: 'plain', text: raw }]
  try {
    return nodes(marked.lexer(raw), 0)
  } catch {
    return [{ kind: 'plain', text: raw }] // marked met something that it does not expect
  }
}

function fenced(raw: string, [, indent = '', marks = '', info = '']: RegExpExecArray): Node {
  const lines = raw.replace(/\n$/, '').split('\n').slice(1)
  const last = lines.at(-1)
  if (last !== undefined && closes(last, marks)) lines.pop()
  const bare = indent === '' ? lines : lines.map((l) => l.replace(new RegExp(`^ {0,${indent.length}}`), ''))
  return { kind: 'code', lang: info.trim().split(/\s/)[0]?.slice(0, 40) ?? '', text: bare.join('\n') }
}
function closes(line: string, marks: string): boolean {
  const t = line.trim()
  return t.length >= marks.length && line.length - line.trimStart().length < 4 && [...t].every((c) => c === marks[0])
}

const known = (t: Token): t is MarkedToken => typeof t.type === 'string'

function nodes(tokens: readonly Token[], depth: number): Node[] {
  return tokens.flatMap((t): Node[] => {
    if (!known(t) || t.type === 'space' || t.type === 'checkbox') return []
    if (depth > mostDepth) return [{ kind: 'plain', text: t.raw }]
    switch (t.type) {
      case 'paragraph': return [{ kind: 'para', nodes: inlines(t.tokens, depth) }]
      case 'text': return [{ kind: 'tight', nodes: inlines('tokens' in t && t.tokens ? t.tokens : [t], depth) }]
      case 'heading': return [{ kind: 'heading', level: t.depth, nodes: inlines(t.tokens, depth) }]
      case 'hr': return [{ kind: 'rule' }]
      case 'code': return [{ kind: 'code', lang: (t.lang ?? '').trim().split(/\s/)[0]?.slice(0, 40) ?? '', text: t.text }]
      case 'blockquote': return [{ kind: 'quote', blocks: nodes(t.tokens, depth + 1) }]
      case 'list': return [{ kind: 'list', ordered: t.ordered, start: typeof t.start === 'number' ? t.start : 1, items: t.items.map((i) => ({ task: i.task ? (i.checked ? 'done' : 'open') : 'no', blocks: nodes(i.tokens, depth + 1) })) }]
      case 'table': return [{ kind: 'table', head: t.header.map((c) => cell(c, depth)), rows: t.rows.map((r) => r.map((c) => cell(c, depth))) }]
      default: return [{ kind: 'plain', text: t.raw }]
    }
  })
}
const cell = (c: Tokens.TableCell, depth: number): Cell => ({ nodes: inlines(c.tokens, depth), align: c.align === 'right' ? 'end' : c.align === 'center' ? 'center' : 'start' })

function inlines(tokens: readonly Token[], depth: number): Inline[] {
  const out: Inline[] = []
  const say = (text: string): void => {
    const last = out.at(-1)
    if (last?.kind === 'text') last.text += text
    else out.push({ kind: 'text', text })
  }
  for (const t of tokens) {
    if (!known(t)) continue
    if (depth > mostDepth) { say(t.raw); continue }
    switch (t.type) {
      case 'text': if ('tokens' in t && t.tokens) out.push(...inlines(t.tokens, depth + 1)); else say(unescape(t.text)); break
      case 'escape': say(t.text); break
      case 'codespan': out.push({ kind: 'code', text: t.text }); break
      case 'strong': case 'em': case 'del': out.push({ kind: t.type, nodes: inlines(t.tokens, depth + 1) }); break
      case 'br': out.push({ kind: 'break' }); break
      case 'image': out.push({ kind: 'image', alt: t.text, url: t.href }); break
      case 'link': out.push({ kind: 'link', text: label(t.tokens), url: t.href, bare: t.text === t.href || `mailto:${t.text}` === t.href }); break
      default: say(t.raw)
    }
  }
  return out.flatMap((n) => (n.kind === 'text' ? cites(n.text) : [n]))
}

// What a link is called is text: nothing within it can be pressed by itself.
const label = (tokens: readonly Token[]): string => tokens.map((t) => ('tokens' in t && Array.isArray(t.tokens) ? label(t.tokens) : known(t) && 'text' in t ? unescape(t.text) : t.raw)).join('')

// "[#3]", also "[#3, #4]": the numbers of results.
const citation = /\[#\d{1,6}(?:,\s?#\d{1,6}){0,9}\]/g
function cites(text: string): Inline[] {
  const out: Inline[] = []
  let at = 0
  for (const m of text.matchAll(citation)) {
    if (m.index > at) out.push({ kind: 'text', text: text.slice(at, m.index) })
    for (const [n] of m[0].matchAll(/\d+/g)) out.push({ kind: 'cite', number: Number(n), text: `#${n}` })
    at = m.index + m[0].length
  }
  if (at < text.length) out.push({ kind: 'text', text: text.slice(at) })
  return out
}
/** The results that a text cites, each once, in order. */
export const cited = (text: string): number[] => [...new Set([...text.matchAll(citation)].flatMap((m) => [...m[0].matchAll(/\d+/g)].map((n) => Number(n[0]))))]

const entities: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0' }
/** The signs that Markdown lets be written by name; what comes out is text as well. */
const unescape = (text: string): string =>
  text.replace(/&(?:(amp|lt|gt|quot|apos|nbsp)|#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6}));/g, (whole: string, name?: string, dec?: string, hex?: string) => {
    if (name) return entities[name] ?? whole
    const code = dec ? Number(dec) : parseInt(hex ?? '', 16)
    return code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code < 0xe000) ? String.fromCodePoint(code) : whole
  })

/** Reads a text that grows. What was read stays as it is, object by object; only the last block is read again. */
export class Reader {
  /** How many blocks were read so far: what stays is not read again. */
  reads = 0
  /** What comes after the part that is read as Markdown. */
  rest = ''
  private text = ''
  private scanned = 0 // whole lines up to here are in `done` or `open`
  private done: Block[] = []
  private open = ''
  private marks = '' // of the fence that is open
  private nested = false // that fence stands within a list
  private blank = false // the last line was
  private last: Block | null = null

  /** All blocks of a text. */
  update(text: string): readonly Block[] {
    if (!text.startsWith(this.text)) this.reset()
    this.text = text
    const end = Math.min(text.length, mostText)
    for (let nl = text.indexOf('\n', this.scanned); nl >= 0 && nl < end && this.done.length < mostBlocks; nl = text.indexOf('\n', this.scanned)) {
      this.line(text.slice(this.scanned, nl))
      this.scanned = nl + 1
    }
    const full = this.done.length >= mostBlocks
    const tail = full ? '' : text.slice(this.scanned, end)
    this.rest = full ? this.open + text.slice(this.scanned) : text.slice(end)
    // The line that is not whole yet may belong to the open block or begin the next; it is tried on a copy.
    const trial = full ? [] : this.trial(tail)
    return [...this.done, ...trial]
  }

  private reset(): void {
    this.text = this.open = this.marks = this.rest = ''
    this.scanned = 0
    this.done = []
    this.nested = this.blank = false
    this.last = null
  }
  private trial(tail: string): Block[] {
    const out: Block[] = []
    let open = this.open
    if (tail !== '' && open !== '' && this.marks === '' && this.cuts(tail)) {
      out.push(this.block(this.done.length, open))
      open = ''
    }
    const raw = open + tail
    if (raw.trim() !== '') out.push(this.block(this.done.length + out.length, raw))
    return out
  }
  private block(key: number, raw: string): Block {
    if (this.last?.key === key && this.last.raw === raw) return this.last
    this.reads++
    this.last = { key, raw, nodes: read(raw) }
    return this.last
  }
  private close(): void {
    if (this.open.trim() !== '') this.done.push(this.block(this.done.length, this.open))
    this.open = ''
    this.blank = false
  }
  /** Whether a line begins a block of its own. */
  private cuts(line: string): boolean {
    const f = fence.exec(line)
    const list = marker.test(this.open)
    if (f && !(list && (f[1]?.length ?? 0) >= 2)) return true
    if (!this.blank || /^\s/.test(line) || line === '') return false
    return !(list && marker.test(line)) // items of a list may lie apart
  }
  private line(line: string): void {
    if (this.marks !== '') {
      this.open += `${line}\n`
      if (closes(line, this.marks)) {
        this.marks = ''
        if (!this.nested) this.close()
      }
      return
    }
    if (this.open !== '' && this.cuts(line)) this.close()
    const f = fence.exec(line)
    if (f && !(f[2]?.startsWith('`') && f[3]?.includes('`'))) {
      this.marks = f[2] ?? ''
      this.nested = this.open !== ''
    }
    this.blank = line.trim() === ''
    if (this.blank && this.open === '') return
    this.open += `${line}\n`
    // A block that is too long to be read is closed here: it would be looked at again with every line.
    if (this.marks === '' && this.open.length > mostBlock) this.close()
  }
}

/** All of a text at once. */
export const parse = (text: string): readonly Block[] => new Reader().update(text)
