// Marks what changed inside a line that was replaced: the common beginning and end stay plain.

import type { DiffLine } from './types'

export interface MarkedLine { sign: ' ' | '+' | '-'; old: number; new: number; head: string; mark: string; tail: string }

const plain = (l: DiffLine): MarkedLine => ({ sign: l.sign, old: l.old, new: l.new, head: l.text, mark: '', tail: '' })

/** A run of removed lines directly followed by as many added ones is taken as line-by-line replacement. */
export function markWords(lines: readonly DiffLine[]): MarkedLine[] {
  const out = lines.map(plain)
  for (let i = 0; i < lines.length; ) {
    if (lines[i]?.sign !== '-') { i++; continue }
    let mid = i
    while (lines[mid]?.sign === '-') mid++
    let end = mid
    while (lines[end]?.sign === '+') end++
    if (end - mid === mid - i)
      for (let k = 0; k < mid - i; k++) markPair(out, i + k, mid + k)
    i = end
  }
  return out
}

// Whole words, single signs: a word is never marked by halves.
const tokens = (text: string): string[] => text.match(/[\p{L}\p{N}_]+|[^]/gu) ?? []

function markPair(out: MarkedLine[], a: number, b: number): void {
  const del = out[a]
  const add = out[b]
  if (!del || !add) return
  const [x, y] = [tokens(del.head), tokens(add.head)]
  let head = 0
  while (head < x.length && head < y.length && x[head] === y[head]) head++
  let tail = 0
  while (tail < x.length - head && tail < y.length - head && x[x.length - 1 - tail] === y[y.length - 1 - tail]) tail++
  // Lines with little in common are two lines, not one changed line.
  const common = [...x.slice(0, head), ...x.slice(x.length - tail)].join('').trim().length
  if (common * 4 < Math.min(del.head.length, add.head.length)) return
  for (const [line, chars] of [[del, x], [add, y]] as const) {
    line.head = chars.slice(0, head).join('')
    line.mark = chars.slice(head, chars.length - tail).join('')
    line.tail = chars.slice(chars.length - tail).join('')
  }
}

/** Folds long unchanged stretches: context stays around every change, changes are never folded. */
export function fold(lines: readonly DiffLine[], keep = 3): (DiffLine | { folded: DiffLine[] })[] {
  const near = lines.map((_, i) => lines.slice(Math.max(0, i - keep), i + keep + 1).some((l) => l.sign !== ' '))
  const out: (DiffLine | { folded: DiffLine[] })[] = []
  for (let i = 0; i < lines.length; ) {
    const line = lines[i]
    if (!line) break
    if (near[i]) { out.push(line); i++; continue }
    let j = i
    while (j < lines.length && !near[j]) j++
    const run = lines.slice(i, j)
    if (run.length < 3) out.push(...run)
    else out.push({ folded: run })
    i = j
  }
  return out
}
