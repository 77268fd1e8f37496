// Finds a table in a result: a JSON array of flat objects, alone or as the only array of an object.

export interface Grid { columns: string[]; rows: string[][]; numeric: boolean[]; whole: boolean }

type Flat = Record<string, unknown>
const isFlat = (x: unknown): x is Flat =>
  typeof x === 'object' && x !== null && !Array.isArray(x) && Object.values(x).every((v) => v === null || typeof v !== 'object')

/** Null when the text is not a table. A number too long for JavaScript also means null: the raw text shows it exactly. */
export function findTable(text: string): Grid | null {
  const t = text.trim()
  if (!/^[[{]/.test(t) || /\d{16,}/.test(t)) return null
  let value: unknown
  try {
    value = JSON.parse(t)
  } catch {
    return null
  }
  let list = value
  let whole = true
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const arrays = Object.values(value).filter(Array.isArray)
    if (arrays.length !== 1) return null
    list = arrays[0]
    whole = Object.keys(value).length === 1
  }
  if (!Array.isArray(list) || list.length === 0 || !list.every(isFlat)) return null
  const objects = list as Flat[]
  const columns = [...new Set(objects.flatMap((o) => Object.keys(o)))]
  if (columns.length === 0 || columns.length > 40) return null
  const rows = objects.map((o) => columns.map((c) => (Object.hasOwn(o, c) ? String(o[c]) : '')))
  const numeric = columns.map((c) => objects.every((o) => !Object.hasOwn(o, c) || typeof o[c] === 'number'))
  return { columns, rows, numeric, whole }
}

/** The same JSON, indented; the text itself when it is not JSON or would lose digits. */
export function pretty(text: string): string {
  if (/\d{16,}/.test(text) || text.length > 500_000) return text
  try {
    return JSON.stringify(JSON.parse(text), null, 2)
  } catch {
    return text
  }
}
