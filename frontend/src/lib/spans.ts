// Cuts an argument's value at the marked spans, so that each stretch can be drawn in its author's line.

import type { Origin, SpanView } from './types'

export interface Stretch { text: string; origin: Origin | ''; detail: string }

/** Spans are clipped to the text and may not overlap: a later one starts where the earlier one ends. */
export function stretches(text: string, spans: readonly SpanView[]): Stretch[] {
  const out: Stretch[] = []
  let at = 0
  for (const span of [...spans].sort((a, b) => a.start - b.start)) {
    const start = Math.max(at, Math.min(span.start, text.length))
    const end = Math.min(span.end, text.length)
    if (!(end > start)) continue
    if (start > at) out.push({ text: text.slice(at, start), origin: '', detail: '' })
    out.push({ text: text.slice(start, end), origin: span.origin, detail: span.detail })
    at = end
  }
  if (at < text.length || out.length === 0) out.push({ text: text.slice(at), origin: '', detail: '' })
  return out
}
