// Reads a tool's JSON input schema into form fields, and turns what was typed into the JSON text that is sent.
//
// The schema is outside text: it is looked at one level deep, a reference is followed once and never twice, and whatever
// is not plainly one of the simple kinds becomes a JSON editor. Numbers keep the digits that were typed.

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }
export type FieldKind = 'string' | 'text' | 'number' | 'integer' | 'boolean' | 'choice' | 'lines' | 'json'

export interface Field {
  name: string
  kind: FieldKind
  required: boolean
  title: string
  hint: string
  /** What the field starts with, as typed text; "" means not sent. */
  initial: string
  /** For `choice`: JSON text of each value. */
  choices: string[]
}
export interface Form { fields: Field[]; problem: string }
export interface Filled { text: string; errors: Map<string, string> }

type Obj = { [key: string]: Json }
const isObj = (x: Json | undefined): x is Obj => typeof x === 'object' && x !== null && !Array.isArray(x)
const str = (x: Json | undefined): string => (typeof x === 'string' ? x : '')
const own = (o: Obj, key: string): Json | undefined => (Object.hasOwn(o, key) ? o[key] : undefined)

/** Fields in the schema's own order, required ones first. */
export function readForm(schemaText: string): Form {
  let root: Json
  try {
    root = JSON.parse(schemaText || '{}') as Json
  } catch {
    return { fields: [], problem: 'The tool’s schema is not JSON. Write the arguments as JSON.' }
  }
  if (!isObj(root)) return { fields: [], problem: 'The tool’s schema is not an object. Write the arguments as JSON.' }
  if (['$ref', 'anyOf', 'oneOf', 'allOf', 'if'].some((k) => own(root as Obj, k) !== undefined))
    return { fields: [], problem: 'The tool’s schema has alternatives that a form cannot show. Write the arguments as JSON.' }
  const props = own(root, 'properties')
  const req = own(root, 'required')
  const required = new Set(Array.isArray(req) ? req.filter((r) => typeof r === 'string') : [])
  const fields: Field[] = []
  if (isObj(props)) for (const [name, raw] of Object.entries(props)) fields.push(readField(name, raw, required.has(name), root))
  fields.sort((a, b) => Number(b.required) - Number(a.required))
  return { fields, problem: '' }
}

// Follows one local reference, and drops "or null" from an alternative. What still refers elsewhere stays as it is.
function settle(raw: Json, root: Obj): Obj {
  let schema: Obj = isObj(raw) ? raw : {}
  const m = /^#\/(\$defs|definitions)\/([^/]+)$/.exec(str(own(schema, '$ref')))
  if (m?.[1] && m[2]) {
    const defs = own(root, m[1])
    const found = isObj(defs) ? own(defs, m[2].replaceAll('~1', '/').replaceAll('~0', '~')) : undefined
    if (isObj(found)) schema = { ...found, ...Object.fromEntries(Object.entries(schema).filter(([k]) => k !== '$ref')) }
  }
  const options = own(schema, 'anyOf') ?? own(schema, 'oneOf')
  if (Array.isArray(options)) {
    const real = options.filter((o) => !(isObj(o) && own(o, 'type') === 'null'))
    if (real.length === 1 && isObj(real[0])) {
      const rest = Object.fromEntries(Object.entries(schema).filter(([k]) => k !== 'anyOf' && k !== 'oneOf'))
      schema = { ...real[0], ...rest }
    }
  }
  return schema
}

function readField(name: string, raw: Json, required: boolean, root: Obj): Field {
  const s = settle(raw, root)
  const kind = kindOf(name, s)
  const choices = kind === 'choice' ? (own(s, 'enum') as Json[]).map((v) => JSON.stringify(v)) : []
  const dflt = own(s, 'default')
  return { name, kind, required, title: str(own(s, 'title')), hint: hintOf(s), initial: dflt === undefined ? '' : typed(kind, dflt), choices }
}

function kindOf(name: string, s: Obj): FieldKind {
  if (['$ref', 'anyOf', 'oneOf', 'allOf', 'not', 'if'].some((k) => own(s, k) !== undefined)) return 'json'
  const values = own(s, 'enum')
  if (Array.isArray(values) && values.length > 0 && values.every((v) => v === null || typeof v !== 'object')) return 'choice'
  let type = own(s, 'type')
  if (Array.isArray(type)) {
    const real = type.filter((t) => t !== 'null')
    type = real.length === 1 ? real[0] : undefined
  }
  switch (type) {
    case 'string': {
      const longest = own(s, 'maxLength')
      const says = /\b(?:content|contents|text|body|query|code|script|message|markdown|multi-?line)\b/i
      const long = (typeof longest === 'number' && longest > 200) || says.test(str(own(s, 'description'))) || /^(?:content|contents|text|body|code|script|message|markdown)$/i.test(name) || str(own(s, 'contentMediaType')) !== ''
      return long ? 'text' : 'string'
    }
    case 'number': return 'number'
    case 'integer': return 'integer'
    case 'boolean': return 'boolean'
    case 'array': {
      const items = own(s, 'items')
      return isObj(items) && own(items, 'type') === 'string' && own(items, 'enum') === undefined ? 'lines' : 'json'
    }
    default: return 'json'
  }
}

function hintOf(s: Obj): string {
  const num = (k: string): string => (typeof own(s, k) === 'number' ? String(own(s, k)) : '')
  const says = str(own(s, 'description')).trim()
  const parts = [says]
  if (num('minimum') && num('maximum')) parts.push(`From ${num('minimum')} to ${num('maximum')}.`)
  else if (num('minimum')) parts.push(`At least ${num('minimum')}.`)
  else if (num('maximum')) parts.push(`At most ${num('maximum')}.`)
  if (num('maxLength')) parts.push(`At most ${num('maxLength')} characters.`)
  if (says && parts.length > 1 && !/[.!?:;)]$/.test(says)) parts[0] = `${says}.`
  return parts.filter(Boolean).join(' ')
}

// How a JSON value looks in a field of this kind.
function typed(kind: FieldKind, value: Json): string {
  if ((kind === 'string' || kind === 'text') && typeof value === 'string') return value
  if (kind === 'lines' && Array.isArray(value) && value.every((v) => typeof v === 'string' && !v.includes('\n'))) return value.join('\n')
  if (kind === 'json') return JSON.stringify(value, null, 2)
  return JSON.stringify(value)
}

const numberText = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/
const integerText = /^-?(?:0|[1-9]\d*)$/

/** The arguments as JSON text, and what is wrong, by field name. An empty optional field is not sent. */
export function fill(fields: readonly Field[], values: ReadonlyMap<string, string>): Filled {
  const errors = new Map<string, string>()
  const members: string[] = []
  for (const f of fields) {
    const value = values.get(f.name) ?? ''
    if (value === '' || (value.trim() === '' && f.kind !== 'string' && f.kind !== 'text')) {
      if (f.required) errors.set(f.name, `${f.name} is required.`)
      continue
    }
    const json = jsonOf(f, value)
    if (json.error) errors.set(f.name, json.error)
    else members.push(`${JSON.stringify(f.name)}:${json.text}`)
  }
  return { text: `{${members.join(',')}}`, errors }
}

function jsonOf(f: Field, value: string): { text: string; error: string } {
  const good = (text: string) => ({ text, error: '' })
  const bad = (error: string) => ({ text: '', error })
  switch (f.kind) {
    case 'string':
    case 'text': return good(JSON.stringify(value))
    case 'number': return numberText.test(value.trim()) ? good(value.trim()) : bad('This is not a number.')
    case 'integer': return integerText.test(value.trim()) ? good(value.trim()) : bad('This is not a whole number.')
    case 'boolean': return value === 'true' || value === 'false' ? good(value) : bad('Choose true or false.')
    case 'choice': return f.choices.includes(value) ? good(value) : bad('Choose one of the values.')
    case 'lines': return good(JSON.stringify(value.split('\n').filter((l) => l !== '')))
    case 'json': {
      const error = jsonProblem(value)
      return error ? bad(error) : good(value.trim())
    }
  }
}

/** Why a text is not JSON, or an empty string. */
export function jsonProblem(text: string): string {
  try {
    JSON.parse(text)
    return ''
  } catch (e) {
    return `Not valid JSON: ${e instanceof Error ? e.message : 'cannot be read'}`
  }
}

/** Why a text is not a JSON object, or an empty string. */
export function objectProblem(text: string): string {
  const problem = jsonProblem(text)
  if (problem) return problem
  return isObj(JSON.parse(text) as Json) ? '' : 'The arguments must be a JSON object: { … }'
}

/** Puts a JSON object back into fields; null when a form cannot show it without losing something. */
export function spread(fields: readonly Field[], text: string): Map<string, string> | null {
  if (objectProblem(text)) return null
  // Digits beyond what a JavaScript number holds would change on the way through.
  if (/\d{16,}/.test(text)) return null
  const values = new Map<string, string>()
  for (const [name, value] of Object.entries(JSON.parse(text) as Obj)) {
    const f = fields.find((x) => x.name === name)
    if (!f) return null
    const t = typed(f.kind, value)
    const back = jsonOf(f, t)
    if (t === '' || back.error || JSON.stringify(JSON.parse(back.text)) !== JSON.stringify(value)) return null
    values.set(name, t)
  }
  return values
}
