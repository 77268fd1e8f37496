// What the form for a model holds, what is wrong with it, and what is sent of it. The host checks all of it again.

import { count } from './format'
import { hostOf, isLocal } from './remote'
import type { FoundModel, ModelView, PriceView } from './types'

/** A place at which models are asked. */
export interface Service {
  id: string
  name: string
  kind: ModelView['kind']
  /** Of the service; "" if only the person knows it. */
  url: string
  /** The port of a program on this computer, 0 of all else. */
  port: number
  hint: string
}

/** What stands for the name of one's own resource in an address of Azure. */
export const azureName = 'NAME'

const local = (name: string, port: number): Service => ({ id: name.toLowerCase().replaceAll(' ', '-'), name, kind: 'openai', url: `http://127.0.0.1:${port}/v1/`, port, hint: `On this computer, at the port that ${name} usually has.` })

export const services: readonly Service[] = [
  { id: 'anthropic', name: 'Anthropic', kind: 'anthropic', url: 'https://api.anthropic.com/', port: 0, hint: 'Over the internet, with a key of yours.' },
  { id: 'openai', name: 'OpenAI', kind: 'openai', url: 'https://api.openai.com/v1/', port: 0, hint: 'Over the internet, with a key of yours.' },
  { id: 'azure', name: 'Azure OpenAI', kind: 'openai', url: `https://${azureName}.openai.azure.com/openai/v1/`, port: 0, hint: `Put the name of your resource in place of ${azureName}.` },
  local('Ollama', 11434), local('LM Studio', 1234), local('llama.cpp', 8080), local('vLLM', 8000), local('Jan', 1337), local('GPT4All', 4891),
  { id: 'other', name: 'Another, compatible with OpenAI', kind: 'openai', url: '', port: 0, hint: 'The address below which its paths begin, such as https://llm.example.org/v1/.' },
]

/** The programs that are looked for on this computer. */
export const programs: readonly Service[] = services.filter((s) => s.port > 0)

export const serviceOf = (id: string): Service => services.find((s) => s.id === id) ?? services[services.length - 1]!

/** Which service a model is at. */
export function serviceAt(m: Pick<ModelView, 'kind' | 'url'>): string {
  if (m.kind === 'anthropic') return 'anthropic'
  return services.find((s) => s.url === m.url)?.id ?? (/\.azure\.com$/i.test(URL.canParse(m.url) ? new URL(m.url).hostname : '') ? 'azure' : 'other')
}

/** The headers in which a key may travel; "" is the usual one. */
export const headers = ['', 'Authorization', 'X-Api-Key', 'Api-Key'] as const

export interface ModelDraft {
  service: string
  url: string
  model: string
  name: string
  /** Numbers as they are typed; "" is not known. */
  context: string
  output: string
  input: string
  cached: string
  written: string
  images: boolean
  reasons: boolean
  header: string
}

export function emptyModel(service = 'anthropic'): ModelDraft {
  return { service, url: serviceOf(service).url, model: '', name: '', context: '', output: '', input: '', cached: '', written: '', images: false, reasons: false, header: '' }
}

const priced = (p: PriceView): boolean => p.input !== 0 || p.cached !== 0 || p.output !== 0

/** A model as it is opened for editing. */
export function draftOf(m: ModelView): ModelDraft {
  const tokens = (n: number): string => (n ? count(n) : '')
  const price = (n: number): string => (priced(m.prices) ? String(n) : '')
  return { service: serviceAt(m), url: m.url, model: m.model, name: m.name, context: tokens(m.context), output: tokens(m.output), input: price(m.prices.input), cached: price(m.prices.cached), written: price(m.prices.output), images: m.images, reasons: m.reasons, header: m.header }
}

/** A name of one's own for what a service calls a model: one that no other has. */
export function nameFor(model: string, taken: readonly string[]): string {
  const plain = (model.split('/').at(-1) ?? '').toLowerCase().replace(/[^a-z0-9_-]+/g, '-').replace(/^[_-]+|[_-]+$/g, '').slice(0, 60)
  if (!plain) return ''
  for (let i = 1; ; i++) {
    const name = i === 1 ? plain : `${plain}-${i}`
    if (!taken.includes(name)) return name
  }
}

const slashed = (url: string): string => { const t = url.trim(); return t.endsWith('/') ? t : `${t}/` }

/** Why an address is not one of a service, or "". */
export function placeProblem(text: string): string {
  const t = text.trim()
  if (!t) return 'An address is required.'
  if (!/^https?:\/\//.test(t)) return 'An address begins with https://, such as https://llm.example.org/v1/.'
  if (/[^\x21-\x7e]/.test(t)) return 'Without spaces. A host in letters other than a to z is written as browsers send it (xn--).'
  if (!URL.canParse(t)) return 'This is no address. One looks like https://llm.example.org/v1/.'
  const u = new URL(t)
  if (u.username || u.password) return 'A name or password has no place in an address. A key is entered by itself.'
  if (t.includes('#')) return 'Leave out the part after #.'
  if (t.includes('?')) return 'Leave out the part after ?.'
  if (u.hostname.startsWith(`${azureName.toLowerCase()}.`) && t.includes(`//${azureName}.`)) return `Put the name of your resource in place of ${azureName}.`
  return u.protocol === 'http:' && !isLocal(t) ? 'http is not encrypted: it is spoken with this computer alone. Use https://.' : ''
}

const maxTokens = 1 << 24
const maxPrice = 1_000_000
/** Thousands may be set apart by commas, spaces or _. */
const figures = (t: string): string => t.trim().replace(/(?<=\d)[,_ \u202f](?=\d{3})/g, '')
const tokensProblem = (t: string): string => (t.trim() === '' || (/^\d+$/.test(figures(t)) && Number(figures(t)) <= maxTokens) ? '' : `A whole number up to ${count(maxTokens)}, or nothing.`)
const isPrice = (t: string): boolean => /^\d+(?:\.\d+)?$/.test(t.trim()) && Number(t) <= maxPrice
const dollars = 'Dollars with a point, such as 2.50.'

type Field = 'url' | 'model' | 'name' | 'context' | 'output' | 'input' | 'cached' | 'written'

/** What is wrong, by field; "" where nothing is. `taken` are the names of the other models. */
export function modelProblems(d: ModelDraft, taken: readonly string[]): Record<Field, string> {
  const some = [d.input, d.cached, d.written].some((t) => t.trim() !== '')
  // Half a price would count the rest as free.
  const price = (t: string): string => (!some ? '' : t.trim() === '' ? 'Both prices, or none: what has none would count as free.' : isPrice(t) ? '' : dollars)
  return {
    url: placeProblem(d.url),
    model: /^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$/.test(d.model.trim()) ? '' : d.model.trim() ? 'Letters, digits and . _ : / @ + -, beginning with a letter or digit; at most 200.' : 'What the service calls it, as its own list writes it.',
    name: !/^[a-z0-9][a-z0-9_-]{0,63}$/.test(d.name.trim()) ? 'Lower-case letters, digits, _ and -, at most 64, beginning with a letter or digit.' : taken.includes(d.name.trim()) ? 'A model has this name already. Choose another, or open that one with Edit.' : '',
    context: tokensProblem(d.context), output: tokensProblem(d.output),
    input: price(d.input), written: price(d.written), cached: d.cached.trim() === '' || isPrice(d.cached) ? '' : dollars,
  }
}

/** What is sent. Local, hasKey and keyName follow from it in the host. */
export function modelOf(d: ModelDraft): ModelView {
  const tokens = (t: string): number => Number(figures(t))
  const url = slashed(d.url)
  return {
    name: d.name.trim(), kind: serviceOf(d.service).kind, url, model: d.model.trim(), local: isLocal(url), hasKey: false, keyName: '', header: d.header, images: d.images, reasons: d.reasons,
    context: tokens(d.context), output: tokens(d.output),
    prices: { input: Number(d.input), cached: Number(d.cached.trim() === '' ? d.input : d.cached), output: Number(d.written) },
  }
}

/** A model that was found, under a name that no other has. */
export const modelFrom = (f: FoundModel, taken: readonly string[]): ModelView => modelOf({ ...emptyModel('other'), url: f.url, model: f.model, name: nameFor(f.model, taken) })

/** "on this computer", or the host. */
export const placeOf = (m: Pick<ModelView, 'local' | 'url'>): string => (m.local ? 'on this computer' : hostOf(m.url))

/** Whether two addresses are of one place, whose models share a key. */
export function samePlace(a: string, b: string): boolean {
  const at = (t: string): string => (URL.canParse(t.trim()) ? new URL(t.trim()).origin : t)
  return at(a) === at(b)
}

/** "$3 in, $15 out"; "" if that is not known. */
export function priceOf(p: PriceView): string {
  const dollar = (n: number): string => `$${Number.isInteger(n) ? count(n) : n < 0.01 ? n : n.toFixed(Math.max(2, (String(n).split('.')[1] ?? '').length))}`
  return priced(p) ? `${dollar(p.input)} in, ${dollar(p.output)} out` : ''
}

/** What is known of it besides, in words: "200,000 tokens, images, thinks first". */
export const traitsOf = (m: ModelView): string => [m.context ? `${count(m.context)} tokens` : '', m.images ? 'images' : '', m.reasons ? 'thinks first' : ''].filter(Boolean).join(', ')

/** Why something is no key, or "". */
export const keyProblem = (key: string): string => (/^[\x21-\x7e]+$/.test(key.trim()) ? '' : key.trim() ? 'A key is one word of letters, digits and signs.' : 'A key is required. It is not kept here between two tries.')
