// Characters that would not show, or that change how the text around them shows, become visible names.
// Everything that came from outside is drawn through `pieces`.

export interface Piece { hidden: boolean; text: string; label: string; hint: string }

// Controls, format characters, private use, unassigned, lone surrogates; line and paragraph separators; everything
// Unicode calls ignorable; and every blank that is not the plain space. Line feed and tab stay: they show as what they are.
const hiddenRun = /(?:(?![\n\t ])[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}\u2800])+/gu

const known: Record<string, string> = {
  '0000': 'null', '000D': 'carriage return', '001B': 'escape', '00A0': 'no-break space', '00AD': 'soft hyphen',
  '061C': 'Arabic letter mark', '200B': 'zero-width space', '200C': 'zero-width non-joiner', '200D': 'zero-width joiner',
  '200E': 'left-to-right mark', '200F': 'right-to-left mark', '2028': 'line separator', '2029': 'paragraph separator',
  '202A': 'left-to-right embedding', '202B': 'right-to-left embedding', '202C': 'end of direction change',
  '202D': 'left-to-right override', '202E': 'right-to-left override', '2060': 'word joiner', '2066': 'left-to-right isolate',
  '2067': 'right-to-left isolate', '2068': 'first strong isolate', '2069': 'end of isolate', '3000': 'wide space',
  'FE0F': 'emoji style', 'FEFF': 'byte order mark',
}

const hex = (code: number): string => code.toString(16).toUpperCase().padStart(4, '0')
const isTag = (code: number): boolean => code >= 0xe0020 && code <= 0xe007e

/** Splits text into what shows and what does not. Joining the `text` of all pieces gives the input back. After `most` pieces the rest is one. */
export function pieces(text: string, most = Infinity): Piece[] {
  const out: Piece[] = []
  let at = 0
  for (const m of text.matchAll(hiddenRun)) {
    if (out.length >= most) break
    if (m.index > at) out.push({ hidden: false, text: text.slice(at, m.index), label: '', hint: '' })
    out.push(...runs(m[0]))
    at = m.index + m[0].length
  }
  if (at < text.length || out.length === 0) out.push({ hidden: false, text: text.slice(at), label: '', hint: '' })
  return out
}

// Names a run of hidden characters: equal neighbours are counted, tag characters are spelled out, because they carry letters.
function runs(text: string): Piece[] {
  const chars = [...text]
  const out: Piece[] = []
  for (let i = 0; i < chars.length; ) {
    const code = chars[i]?.codePointAt(0) ?? 0
    let j = i + 1
    if (isTag(code)) {
      while (j < chars.length && isTag(chars[j]?.codePointAt(0) ?? 0)) j++
      const spelled = chars.slice(i, j).map((c) => String.fromCharCode((c.codePointAt(0) ?? 0) - 0xe0000)).join('')
      out.push({ hidden: true, text: chars.slice(i, j).join(''), label: `${j - i} tag characters: “${spelled}”`, hint: 'letters that no font draws' })
    } else {
      while (j < chars.length && chars[j] === chars[i]) j++
      const name = hex(code)
      out.push({ hidden: true, text: chars.slice(i, j).join(''), label: `U+${name}${j - i > 1 ? ` ×${j - i}` : ''}`, hint: known[name] ?? 'a character that does not show' })
    }
    i = j
  }
  return out
}

/** The same as one text, for titles and labels, which cannot hold marks. */
export const visible = (text: string): string => pieces(text).map((p) => (p.hidden ? p.label : p.text)).join('')
/** The same with the names in brackets, where they stand among text. */
export const bracketed = (text: string): string => text.replace(hiddenRun, (run) => runs(run).map((p) => `[${p.label}]`).join(''))

/** How many characters of the text would not show. */
export function countHidden(text: string): number {
  let n = 0
  for (const m of text.matchAll(hiddenRun)) n += [...m[0]].length
  return n
}
