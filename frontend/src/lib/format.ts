// Figures and times as the interface writes them: UTC, ISO dates, binary units, a comma between thousands.

/** "08:02:11", or an empty string for no time. */
export const clock = (iso: string): string => part(iso, 11, 19)
/** "2026-11-18" */
export const day = (iso: string): string => part(iso, 0, 10)
/** "2026-11-18 08:02:11" */
export const stamp = (iso: string): string => (valid(iso) ? `${day(iso)} ${clock(iso)}` : '')
/** "09:47:31.020" */
export const clockMillis = (iso: string): string => part(iso, 11, 23)
/** "today 08:02:11" or "2026-11-18 08:02" */
export function when(iso: string, now: Date = new Date()): string {
  if (!valid(iso)) return ''
  return day(iso) === now.toISOString().slice(0, 10) ? `today ${clock(iso)}` : `${day(iso)} ${part(iso, 11, 16)}`
}

const valid = (iso: string): boolean => iso !== '' && !iso.startsWith('0001-') && !Number.isNaN(Date.parse(iso))
function part(iso: string, from: number, to: number): string {
  return valid(iso) ? new Date(iso).toISOString().slice(from, to) : ''
}

/** "12,498" */
export const count = (n: number): string => n.toLocaleString('en-US')
/** "1 tool", "3 tools" */
export const many = (n: number, one: string, more = `${one}s`): string => `${count(n)} ${n === 1 ? one : more}`

/** "44 MiB", "1.5 GiB", "611 bytes" */
export function bytes(n: number): string {
  if (n < 1024) return many(n, 'byte')
  const units = ['KiB', 'MiB', 'GiB', 'TiB']
  let value = n / 1024
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit++ }
  return `${value < 10 ? Number(value.toFixed(1)) : Math.round(value)} ${units[unit]}`
}

/** "91 ms", "6.4 s", "2 min 5 s" */
export function took(millis: number): string {
  if (millis < 1000) return `${Math.round(millis)} ms`
  if (millis < 60_000) return `${(millis / 1000).toFixed(1)} s`
  return `${Math.floor(millis / 60_000)} min ${Math.round((millis % 60_000) / 1000)} s`
}
/** "45 s", "10 min", "1 h 30 min" */
export function lasting(seconds: number): string {
  const parts: [number, string][] = [[Math.floor(seconds / 3600), 'h'], [Math.floor((seconds % 3600) / 60), 'min'], [seconds % 60, 's']]
  return parts.filter(([n]) => n > 0).map(([n, unit]) => `${n} ${unit}`).join(' ') || '0 s'
}
export const tookMicros = (micros: number): string => (micros < 1000 ? `${micros} µs` : micros < 10_000 ? `${(micros / 1000).toFixed(1)} ms` : took(micros / 1000))

/** "1:47" */
export function remaining(seconds: number): string {
  const s = Math.max(0, Math.ceil(seconds))
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, '0')}`
}

/** A digest's first two groups: "9f2c 41d7". The whole is in the title and in the exact bytes. */
export const shortDigest = (digest: string): string => {
  const bare = digest.replace(/^[a-z0-9-]+:/i, '')
  return `${bare.slice(0, 4)} ${bare.slice(4, 8)}`.trim()
}

/** Makes an address inert on screen: hxxps://host[.]example/path */
export function defang(text: string): string {
  return text
    .replace(/\bhttp(s?):\/\/([^\s/?#]*)/gi, (_m: string, s: string, host: string) => `hxxp${s}://${host.replace(/\./g, '[.]')}`)
    .replace(/\b(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\b/g, '$1[.]$2[.]$3[.]$4')
}
/** What the host says is wrong, as a sentence: it writes such things lower case and without a full stop. */
export const sentence = (text: string): string => (text === '' ? '' : `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`)
/** "a", "a and b", "a, b and c" */
export const listed = (words: readonly string[]): string => (words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1) ?? ''}`)
